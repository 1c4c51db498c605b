INSERT INTO idempotency_records
    (key_hash, fingerprint, outcome_version, outcome, request_id, mismatches, created_at, expires_at)
SELECT
    key_hash,
    fingerprint,
    1,
    CASE status WHEN 201 THEN '{"created":' || CAST(body AS TEXT) || '}' ELSE '"email_taken"' END,
    CASE status WHEN 201 THEN '' ELSE CAST(body AS TEXT) ->> '$.request_id' END,
    mismatches,
    created_at,
    expires_at
FROM idempotency_responses;

DROP TABLE idempotency_responses;
