-- Imports of accounts, and how far each has come: lines before next_line are done, whatever became of their accounts
-- since. The digest is that of these lines, so that an import goes on with the file that it began with only.
CREATE TABLE imports (
    id         TEXT    NOT NULL PRIMARY KEY,
    next_line  INTEGER NOT NULL,
    digest     BLOB    NOT NULL,
    imported   INTEGER NOT NULL DEFAULT 0,
    refused    INTEGER NOT NULL DEFAULT 0,
    started_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Lines without an account: their numbers and reasons, and nothing of what they hold.
CREATE TABLE import_refusals (
    import_id TEXT    NOT NULL REFERENCES imports (id) ON DELETE CASCADE,
    line      INTEGER NOT NULL,
    field     TEXT    NOT NULL,
    code      TEXT    NOT NULL,
    PRIMARY KEY (import_id, line)
) STRICT, WITHOUT ROWID;
