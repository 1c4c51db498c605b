-- A record keeps what its command came to, as JSON, and no more the response of one face.
--
-- Instances of the release before may run beside those of this one while a deployment rolls. A
-- trigger keeps each readable for the other: what an older one writes is given its outcome, and an
-- older one finds a 503 where a newer one wrote, so that its client retries until it meets a newer.
-- The columns of the response, and the trigger, go with a later migration.
ALTER TABLE idempotency_records
    ADD COLUMN outcome_version smallint NOT NULL DEFAULT 1,
    ADD COLUMN outcome         text,
    ADD COLUMN request_id      text NOT NULL DEFAULT '';

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

UPDATE idempotency_records SET
    outcome = CASE status
        WHEN 201 THEN '{"created":' || convert_from(body, 'UTF8') || '}'
        ELSE '"email_taken"'
    END,
    request_id = CASE status
        WHEN 201 THEN ''
        ELSE convert_from(body, 'UTF8')::json ->> 'request_id'
    END;

ALTER TABLE idempotency_records
    ALTER COLUMN outcome SET NOT NULL,
    ALTER COLUMN status DROP NOT NULL,
    ALTER COLUMN content_type DROP NOT NULL,
    ALTER COLUMN body DROP NOT NULL;

CREATE TRIGGER idempotency_records_between_releases
    BEFORE INSERT OR UPDATE OF outcome, body ON idempotency_records
    FOR EACH ROW EXECUTE FUNCTION idempotency_records_between_releases();
