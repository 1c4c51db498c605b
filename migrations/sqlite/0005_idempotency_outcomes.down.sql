DROP TABLE idempotency_records;
ALTER TABLE idempotency_responses RENAME TO idempotency_records;
CREATE INDEX idempotency_records_expires_at_idx ON idempotency_records (expires_at);
