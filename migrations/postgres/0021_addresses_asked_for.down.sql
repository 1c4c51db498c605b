DROP INDEX one_time_tokens_new_email_idx;
ALTER TABLE one_time_tokens DROP COLUMN new_email_canonical;
