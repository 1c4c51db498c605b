-- Imports of accounts, and how far each has come: lines before next_line are done, whatever became of their accounts
-- since. The digest is that of these lines, so that an import goes on with the file that it began with only.
CREATE TABLE imports (
    id         text        NOT NULL,
    next_line  bigint      NOT NULL,
    digest     bytea       NOT NULL,
    imported   bigint      NOT NULL DEFAULT 0,
    refused    bigint      NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT imports_pkey PRIMARY KEY (id)
);

-- Lines without an account: their numbers and reasons, and nothing of what they hold.
CREATE TABLE import_refusals (
    import_id text   NOT NULL,
    line      bigint NOT NULL,
    field     text   NOT NULL,
    code      text   NOT NULL,
    CONSTRAINT import_refusals_pkey PRIMARY KEY (import_id, line),
    CONSTRAINT import_refusals_import_id_fkey FOREIGN KEY (import_id) REFERENCES imports (id) ON DELETE CASCADE
);
