DROP INDEX mail_queue_unsent_idx;
