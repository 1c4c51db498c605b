-- Erasure: of a user, only ids and times are kept. The records of keys with a name or an address are found by their
-- user, and events lose what they say.
ALTER TABLE idempotency_records ADD COLUMN subject_id BLOB;
CREATE INDEX idempotency_records_subject_id_idx ON idempotency_records (subject_id) WHERE subject_id IS NOT NULL;

-- An event can lose its payload, and change in no other way.
DROP TRIGGER user_events_never_updated;
CREATE TRIGGER user_events_never_updated BEFORE UPDATE ON user_events
WHEN NOT (NEW.payload = '{"erased":true}' AND NEW.event_id = OLD.event_id AND NEW.user_id = OLD.user_id
    AND NEW.type = OLD.type AND NEW.schema_version = OLD.schema_version AND NEW.occurred_at = OLD.occurred_at
    AND NEW.correlation_id = OLD.correlation_id)
BEGIN
    SELECT RAISE(ABORT, 'user_events is append-only');
END;

-- Who was erased, so that it can be repeated after a backup is restored. No address is here.
CREATE TABLE user_tombstones (
    user_id   BLOB    NOT NULL PRIMARY KEY,
    erased_at INTEGER NOT NULL,
    actor     TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX user_tombstones_erased_at_idx ON user_tombstones (erased_at);

-- The session that asked for a change of address: it lives on when the change is confirmed.
ALTER TABLE one_time_tokens ADD COLUMN session_id BLOB;
