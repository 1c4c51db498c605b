-- The command side. Uniqueness of an account is decided here.
-- Ids are the 16 bytes of a UUID, times are microseconds since 1970 in UTC.
CREATE TABLE users (
    id              BLOB    NOT NULL PRIMARY KEY,
    name            TEXT    NOT NULL,
    email           TEXT    NOT NULL,
    email_canonical TEXT    NOT NULL UNIQUE,
    password_hash   TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
