DELETE FROM one_time_tokens WHERE purpose = 'recover';
ALTER TABLE one_time_tokens DROP CONSTRAINT one_time_tokens_purpose_check;
ALTER TABLE one_time_tokens ADD CONSTRAINT one_time_tokens_purpose_check
    CHECK (purpose IN ('verify', 'reset', 'set_password', 'change', 'undo'));
DROP INDEX one_time_tokens_unused_key;
CREATE UNIQUE INDEX one_time_tokens_unused_key ON one_time_tokens (user_id, purpose)
    WHERE used_at IS NULL AND voided_at IS NULL AND purpose <> 'undo';
CREATE INDEX one_time_tokens_new_email_idx ON one_time_tokens (new_email_canonical, created_at)
    WHERE new_email_canonical IS NOT NULL;
DROP TABLE counted_mails;
