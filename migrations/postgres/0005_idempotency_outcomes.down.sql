DROP TRIGGER idempotency_records_between_releases ON idempotency_records;
DROP FUNCTION idempotency_records_between_releases();

ALTER TABLE idempotency_records
    DROP COLUMN outcome_version,
    DROP COLUMN outcome,
    DROP COLUMN request_id,
    ALTER COLUMN status SET NOT NULL,
    ALTER COLUMN content_type SET NOT NULL,
    ALTER COLUMN body SET NOT NULL;
