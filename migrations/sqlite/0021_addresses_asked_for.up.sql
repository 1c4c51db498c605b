-- To count the mails to an address that several users ask for: the canonical form of `new_email` of a change.
ALTER TABLE one_time_tokens ADD COLUMN new_email_canonical TEXT;
CREATE INDEX one_time_tokens_new_email_idx ON one_time_tokens (new_email_canonical, created_at)
    WHERE new_email_canonical IS NOT NULL;
