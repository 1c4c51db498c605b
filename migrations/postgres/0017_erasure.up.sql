-- Erasure: of a user, only ids and times are kept. The records of keys with a name or an address are found by their
-- user, and events lose what they say.
ALTER TABLE idempotency_records ADD COLUMN subject_id uuid;
CREATE INDEX idempotency_records_subject_id_idx ON idempotency_records (subject_id) WHERE subject_id IS NOT NULL;

-- Instances of the release before write no subject.
CREATE FUNCTION idempotency_records_have_a_subject() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.subject_id IS NULL AND NEW.outcome LIKE '{"created":%' THEN
        NEW.subject_id := (NEW.outcome::json -> 'created' ->> 'id')::uuid;
    END IF;
    RETURN NEW;
END
$$;

-- It runs after the trigger that fills in outcomes: triggers run in the order of their names.
CREATE TRIGGER idempotency_records_subject
    BEFORE INSERT OR UPDATE OF outcome, body ON idempotency_records
    FOR EACH ROW EXECUTE FUNCTION idempotency_records_have_a_subject();

-- An event can lose its payload, and change in no other way.
CREATE OR REPLACE FUNCTION user_events_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.payload = '{"erased": true}' AND NEW.event_id = OLD.event_id
        AND NEW.user_id = OLD.user_id AND NEW.type = OLD.type AND NEW.schema_version = OLD.schema_version
        AND NEW.occurred_at = OLD.occurred_at AND NEW.correlation_id = OLD.correlation_id THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'user_events is append-only';
END
$$;

-- Who was erased, so that it can be repeated after a backup is restored. No address is here.
CREATE TABLE user_tombstones (
    user_id   uuid        NOT NULL,
    erased_at timestamptz NOT NULL,
    actor     text        NOT NULL,
    CONSTRAINT user_tombstones_pkey PRIMARY KEY (user_id)
);

CREATE INDEX user_tombstones_erased_at_idx ON user_tombstones (erased_at);

-- The session that asked for a change of address: it lives on when the change is confirmed.
ALTER TABLE one_time_tokens ADD COLUMN session_id uuid;
