-- To find all rows of a user when it is removed: those that have ended, too.
CREATE INDEX sessions_user_id_idx ON sessions (user_id);
CREATE INDEX one_time_tokens_user_id_idx ON one_time_tokens (user_id);
