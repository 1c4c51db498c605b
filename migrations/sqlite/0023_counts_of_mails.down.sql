CREATE TABLE one_time_tokens_next (
    id                  BLOB    NOT NULL PRIMARY KEY,
    user_id             BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose             TEXT    NOT NULL
        CHECK (purpose IN ('verify', 'reset', 'set_password', 'change', 'undo')),
    email_canonical     TEXT    NOT NULL,
    new_email           TEXT,
    epoch               INTEGER NOT NULL,
    created_at          INTEGER NOT NULL,
    expires_at          INTEGER NOT NULL,
    used_at             INTEGER,
    voided_at           INTEGER,
    session_id          BLOB,
    new_email_canonical TEXT
) STRICT, WITHOUT ROWID;

INSERT INTO one_time_tokens_next (id, user_id, purpose, email_canonical, new_email, epoch, created_at, expires_at,
    used_at, voided_at, session_id, new_email_canonical)
SELECT id, user_id, purpose, email_canonical, new_email, epoch, created_at, expires_at, used_at, voided_at, session_id,
    new_email_canonical FROM one_time_tokens
    WHERE purpose <> 'recover';

DROP TABLE one_time_tokens;
ALTER TABLE one_time_tokens_next RENAME TO one_time_tokens;

CREATE UNIQUE INDEX one_time_tokens_unused_key ON one_time_tokens (user_id, purpose)
    WHERE used_at IS NULL AND voided_at IS NULL AND purpose <> 'undo';
CREATE INDEX one_time_tokens_undo_idx ON one_time_tokens (email_canonical)
    WHERE used_at IS NULL AND voided_at IS NULL AND purpose = 'undo';
CREATE INDEX one_time_tokens_expires_at_idx ON one_time_tokens (expires_at);
CREATE INDEX one_time_tokens_user_id_idx ON one_time_tokens (user_id);
CREATE INDEX one_time_tokens_new_email_idx ON one_time_tokens (new_email_canonical, created_at)
    WHERE new_email_canonical IS NOT NULL;

DROP TABLE counted_mails;
