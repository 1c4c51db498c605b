-- Sessions. A refresh token is derived from the id, the generation and the nonce, under a secret that is not here: no
-- token can be made from a row. rotation_key and login_key are keyed hashes of Idempotency-Keys.
CREATE TABLE sessions (
    id           BLOB    NOT NULL PRIMARY KEY,
    user_id      BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    nonce        BLOB    NOT NULL,
    generation   INTEGER NOT NULL DEFAULT 0,
    rotated_at   INTEGER NOT NULL,
    rotation_key BLOB,
    login_key    BLOB UNIQUE,
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    idle_until   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    auth_time    INTEGER NOT NULL,
    amr          TEXT    NOT NULL,
    label        TEXT,
    network      TEXT,
    ended_at     INTEGER,
    end_reason   TEXT,
    dpop_jkt     TEXT
) STRICT, WITHOUT ROWID;

-- For the list of a user's sessions, and to end them.
CREATE INDEX sessions_live_idx ON sessions (user_id) WHERE ended_at IS NULL;
-- To remove the old ones.
CREATE INDEX sessions_expires_at_idx ON sessions (expires_at);
CREATE INDEX sessions_ended_at_idx ON sessions (ended_at) WHERE ended_at IS NOT NULL;
