ALTER TABLE one_time_tokens DROP COLUMN session_id;
DROP TABLE user_tombstones;

CREATE OR REPLACE FUNCTION user_events_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'user_events is append-only';
END
$$;

DROP TRIGGER idempotency_records_subject ON idempotency_records;
DROP FUNCTION idempotency_records_have_a_subject();
DROP INDEX idempotency_records_subject_id_idx;
ALTER TABLE idempotency_records DROP COLUMN subject_id;
