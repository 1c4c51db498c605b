-- The projection: the only table that queries read. It has no foreign key to users, so that it
-- can be rebuilt beside it; signup writes both in one transaction.
CREATE TABLE users_read (
    id              BLOB    NOT NULL PRIMARY KEY,
    name            TEXT    NOT NULL,
    email           TEXT    NOT NULL,
    email_canonical TEXT    NOT NULL,
    display_name    TEXT    NOT NULL,
    created_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX users_read_email_canonical_idx ON users_read (email_canonical);
-- For the keyset of the list, newest first.
CREATE INDEX users_read_created_at_id_idx ON users_read (created_at DESC, id DESC);
