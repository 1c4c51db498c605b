DROP TRIGGER idempotency_records_between_releases ON idempotency_records;
DROP FUNCTION idempotency_records_between_releases();

-- What an older release would have answered.
UPDATE idempotency_records SET
    status = 201,
    location = '/users/' || (outcome::json -> 'created' ->> 'id'),
    content_type = 'application/json',
    body = convert_to((outcome::json -> 'created')::text, 'UTF8')
WHERE outcome LIKE '{"created":%';
UPDATE idempotency_records SET
    status = 409,
    location = NULL,
    content_type = 'application/problem+json',
    body = convert_to('{"type":"/problems/email-already-registered","title":"The address has an account",'
        || '"status":409,"detail":"The address has an account already.","request_id":'
        || to_json(request_id)::text || '}', 'UTF8')
WHERE outcome = '"email_taken"';
-- Of commands that it does not know.
DELETE FROM idempotency_records WHERE outcome NOT LIKE '{"created":%' AND outcome <> '"email_taken"';

ALTER TABLE idempotency_records
    DROP COLUMN outcome_version,
    DROP COLUMN outcome,
    DROP COLUMN request_id,
    ALTER COLUMN status SET NOT NULL,
    ALTER COLUMN content_type SET NOT NULL,
    ALTER COLUMN body SET NOT NULL;
