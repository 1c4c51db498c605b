-- Keys of machines. Only keyed hashes of their secrets are here; next_hash is that of a new secret while both are
-- accepted. last_used_on is a day, as its midnight in UTC.
CREATE TABLE service_keys (
    id           TEXT    NOT NULL PRIMARY KEY,
    name         TEXT    NOT NULL,
    secret_hash  BLOB    NOT NULL,
    next_hash    BLOB,
    permissions  TEXT    NOT NULL CHECK (json_valid(permissions)),
    created_by   TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    last_used_on INTEGER,
    revoked_at   INTEGER
) STRICT, WITHOUT ROWID;
