-- Tokens that are sent by mail, each for one use. A token is derived from its row under a secret that is not here, so
-- none can be made from a row. The epoch is the user's when it was issued: a change of the password voids all before.
CREATE TABLE one_time_tokens (
    id              uuid        NOT NULL,
    user_id         uuid        NOT NULL,
    purpose         text        NOT NULL CONSTRAINT one_time_tokens_purpose_check
        CHECK (purpose IN ('verify', 'reset', 'set_password', 'change', 'undo')),
    email_canonical text        NOT NULL,
    new_email       text,
    epoch           integer     NOT NULL,
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    used_at         timestamptz,
    voided_at       timestamptz,
    CONSTRAINT one_time_tokens_pkey PRIMARY KEY (id),
    CONSTRAINT one_time_tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);

-- A new token voids the one before. Those that undo a change of the address stay beside each other.
CREATE UNIQUE INDEX one_time_tokens_unused_key ON one_time_tokens (user_id, purpose)
    WHERE used_at IS NULL AND voided_at IS NULL AND purpose <> 'undo';
-- An address that can be restored is not given to another account.
CREATE INDEX one_time_tokens_undo_idx ON one_time_tokens (email_canonical)
    WHERE used_at IS NULL AND voided_at IS NULL AND purpose = 'undo';
-- To remove the old ones.
CREATE INDEX one_time_tokens_expires_at_idx ON one_time_tokens (expires_at);
