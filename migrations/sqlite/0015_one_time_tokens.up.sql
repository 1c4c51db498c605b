-- Tokens that are sent by mail, each for one use. A token is derived from its row under a secret that is not here, so
-- none can be made from a row. The epoch is the user's when it was issued: a change of the password voids all before.
CREATE TABLE one_time_tokens (
    id              BLOB    NOT NULL PRIMARY KEY,
    user_id         BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose         TEXT    NOT NULL CHECK (purpose IN ('verify', 'reset', 'set_password', 'change', 'undo')),
    email_canonical TEXT    NOT NULL,
    new_email       TEXT,
    epoch           INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    used_at         INTEGER,
    voided_at       INTEGER
) STRICT, WITHOUT ROWID;

-- A new token voids the one before. Those that undo a change of the address stay beside each other.
CREATE UNIQUE INDEX one_time_tokens_unused_key ON one_time_tokens (user_id, purpose)
    WHERE used_at IS NULL AND voided_at IS NULL AND purpose <> 'undo';
-- An address that can be restored is not given to another account.
CREATE INDEX one_time_tokens_undo_idx ON one_time_tokens (email_canonical)
    WHERE used_at IS NULL AND voided_at IS NULL AND purpose = 'undo';
-- To remove the old ones.
CREATE INDEX one_time_tokens_expires_at_idx ON one_time_tokens (expires_at);
