-- The projection: the only table that queries read. It has no foreign key to users, so that it
-- can be rebuilt beside it; signup writes both in one transaction.
CREATE TABLE users_read (
    id              uuid        NOT NULL,
    name            text        NOT NULL,
    email           text        NOT NULL,
    email_canonical text        NOT NULL,
    display_name    text        NOT NULL,
    created_at      timestamptz NOT NULL,
    CONSTRAINT users_read_pkey PRIMARY KEY (id)
);

CREATE INDEX users_read_email_canonical_idx ON users_read (email_canonical);
-- For the keyset of the list, newest first.
CREATE INDEX users_read_created_at_id_idx ON users_read (created_at DESC, id DESC);
