DROP INDEX one_time_tokens_user_id_idx;
DROP INDEX sessions_user_id_idx;
