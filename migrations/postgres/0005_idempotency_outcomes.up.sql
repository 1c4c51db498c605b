-- A record keeps what its command came to, as JSON, and no more the response of one face. The next
-- migration gives the records that there are their outcomes.
--
-- Instances of the release before may run beside those of this one while a deployment rolls. A
-- trigger keeps each row readable for both: what an older one writes is given its outcome, and what
-- a newer one writes is given the response that an older one would have made of it. An outcome that
-- an older one does not know is a 503 to it, so that its client retries until it meets a newer one.
-- The columns of the response, and the trigger, go with a later migration.
--
-- Nothing here looks at rows, so that the lock of the table is short.
ALTER TABLE idempotency_records
    ADD COLUMN outcome_version smallint NOT NULL DEFAULT 1,
    ADD COLUMN outcome         text,
    ADD COLUMN request_id      text NOT NULL DEFAULT '',
    ALTER COLUMN status DROP NOT NULL,
    ALTER COLUMN content_type DROP NOT NULL,
    ALTER COLUMN body DROP NOT NULL;

CREATE FUNCTION idempotency_records_between_releases() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.outcome IS NULL OR (TG_OP = 'UPDATE' AND NEW.body IS DISTINCT FROM OLD.body) THEN
        NEW.outcome_version := 1;
        IF NEW.status = 201 THEN
            NEW.outcome := '{"created":' || convert_from(NEW.body, 'UTF8') || '}';
            NEW.request_id := '';
        ELSE
            NEW.outcome := '"email_taken"';
            NEW.request_id := convert_from(NEW.body, 'UTF8')::json ->> 'request_id';
        END IF;
    ELSIF NEW.outcome LIKE '{"created":%' THEN
        NEW.status := 201;
        NEW.location := '/users/' || (NEW.outcome::json -> 'created' ->> 'id');
        NEW.content_type := 'application/json';
        NEW.body := convert_to((NEW.outcome::json -> 'created')::text, 'UTF8');
    ELSIF NEW.outcome = '"email_taken"' THEN
        NEW.status := 409;
        NEW.location := NULL;
        NEW.content_type := 'application/problem+json';
        NEW.body := convert_to('{"type":"/problems/email-already-registered","title":"The address has an account",'
            || '"status":409,"detail":"The address has an account already.","request_id":'
            || to_json(NEW.request_id)::text || '}', 'UTF8');
    ELSE
        NEW.status := 503;
        NEW.location := NULL;
        NEW.content_type := 'application/problem+json';
        NEW.body := convert_to('{"type":"/problems/unavailable","title":"The service cannot answer now","status":503,'
            || '"detail":"The service cannot answer now. Try again shortly.","request_id":""}', 'UTF8');
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER idempotency_records_between_releases
    BEFORE INSERT OR UPDATE OF outcome, body ON idempotency_records
    FOR EACH ROW EXECUTE FUNCTION idempotency_records_between_releases();
