-- Mails of the last day, to count them by a keyed hash of their address. They outlive users: a count is not reset by
-- erasing an account.
CREATE TABLE counted_mails (
    mail_id BLOB    NOT NULL,
    subject BLOB    NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (mail_id, subject)
) STRICT, WITHOUT ROWID;

CREATE INDEX counted_mails_subject_idx ON counted_mails (subject, at);
-- To remove the old ones.
CREATE INDEX counted_mails_at_idx ON counted_mails (at);

-- A link to another password that no newer one makes void: a user may have several. The table is made again, as its check
-- is part of it; the index by new_email_canonical is left out, as mails are counted in the table above.
CREATE TABLE one_time_tokens_next (
    id                  BLOB    NOT NULL PRIMARY KEY,
    user_id             BLOB    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose             TEXT    NOT NULL
        CHECK (purpose IN ('verify', 'reset', 'recover', 'set_password', 'change', 'undo')),
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
    new_email_canonical FROM one_time_tokens;

DROP TABLE one_time_tokens;
ALTER TABLE one_time_tokens_next RENAME TO one_time_tokens;

CREATE UNIQUE INDEX one_time_tokens_unused_key ON one_time_tokens (user_id, purpose)
    WHERE used_at IS NULL AND voided_at IS NULL AND purpose NOT IN ('undo', 'recover');
CREATE INDEX one_time_tokens_undo_idx ON one_time_tokens (email_canonical)
    WHERE used_at IS NULL AND voided_at IS NULL AND purpose = 'undo';
CREATE INDEX one_time_tokens_expires_at_idx ON one_time_tokens (expires_at);
CREATE INDEX one_time_tokens_user_id_idx ON one_time_tokens (user_id);
