-- The oldest mail that waits, and those that were given up, are asked for each second.
CREATE INDEX mail_queue_unsent_idx ON mail_queue (created_at, dead_at) WHERE sent_at IS NULL;
