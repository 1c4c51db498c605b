ALTER TABLE one_time_tokens DROP COLUMN session_id;
DROP INDEX user_tombstones_erased_at_idx;
DROP TABLE user_tombstones;

DROP TRIGGER user_events_never_updated;
CREATE TRIGGER user_events_never_updated BEFORE UPDATE ON user_events
BEGIN
    SELECT RAISE(ABORT, 'user_events is append-only');
END;

DROP INDEX idempotency_records_subject_id_idx;
ALTER TABLE idempotency_records DROP COLUMN subject_id;
