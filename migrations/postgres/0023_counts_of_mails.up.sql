-- Mails of the last day, to count them by a keyed hash of their address. They outlive users: a count is not reset by
-- erasing an account.
CREATE TABLE counted_mails (
    mail_id uuid        NOT NULL,
    subject bytea       NOT NULL,
    at      timestamptz NOT NULL,
    CONSTRAINT counted_mails_pkey PRIMARY KEY (mail_id, subject)
);

CREATE INDEX counted_mails_subject_idx ON counted_mails (subject, at);
-- To remove the old ones.
CREATE INDEX counted_mails_at_idx ON counted_mails (at);

-- Only instances of the release before count by this column; a later one removes it.
DROP INDEX one_time_tokens_new_email_idx;

-- A link to another password that no newer one makes void: a user may have several.
ALTER TABLE one_time_tokens DROP CONSTRAINT one_time_tokens_purpose_check;
ALTER TABLE one_time_tokens ADD CONSTRAINT one_time_tokens_purpose_check
    CHECK (purpose IN ('verify', 'reset', 'recover', 'set_password', 'change', 'undo'));
DROP INDEX one_time_tokens_unused_key;
CREATE UNIQUE INDEX one_time_tokens_unused_key ON one_time_tokens (user_id, purpose)
    WHERE used_at IS NULL AND voided_at IS NULL AND purpose NOT IN ('undo', 'recover');
