CREATE TABLE idempotency_responses (
    key_hash     BLOB NOT NULL,
    fingerprint  BLOB NOT NULL,
    status       INTEGER NOT NULL,
    location     TEXT,
    content_type TEXT NOT NULL,
    body         BLOB NOT NULL,
    mismatches   INTEGER NOT NULL DEFAULT 0,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    PRIMARY KEY (key_hash)
) STRICT, WITHOUT ROWID;

-- What an older release would have answered; nothing of commands that it does not know.
INSERT INTO idempotency_responses
    (key_hash, fingerprint, status, location, content_type, body, mismatches, created_at, expires_at)
SELECT
    key_hash,
    fingerprint,
    201,
    '/users/' || (outcome ->> '$.created.id'),
    'application/json',
    CAST(outcome -> '$.created' AS BLOB),
    mismatches,
    created_at,
    expires_at
FROM idempotency_records WHERE outcome LIKE '{"created":%'
UNION ALL
SELECT
    key_hash,
    fingerprint,
    409,
    NULL,
    'application/problem+json',
    CAST('{"type":"/problems/email-already-registered","title":"The address has an account",'
        || '"status":409,"detail":"The address has an account already.","request_id":'
        || json_quote(request_id) || '}' AS BLOB),
    mismatches,
    created_at,
    expires_at
FROM idempotency_records WHERE outcome = '"email_taken"';

DELETE FROM idempotency_records;
