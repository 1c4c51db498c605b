-- A record keeps what its command came to, as JSON, and no more the response of one face.
CREATE TABLE idempotency_outcomes (
    key_hash        BLOB    NOT NULL,
    fingerprint     BLOB    NOT NULL,
    outcome_version INTEGER NOT NULL,
    outcome         TEXT    NOT NULL,
    request_id      TEXT    NOT NULL,
    mismatches      INTEGER NOT NULL DEFAULT 0,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    PRIMARY KEY (key_hash)
) STRICT, WITHOUT ROWID;

INSERT INTO idempotency_outcomes
SELECT
    key_hash,
    fingerprint,
    1,
    CASE status WHEN 201 THEN '{"created":' || CAST(body AS TEXT) || '}' ELSE '"email_taken"' END,
    CASE status WHEN 201 THEN '' ELSE CAST(body AS TEXT) ->> '$.request_id' END,
    mismatches,
    created_at,
    expires_at
FROM idempotency_records;

DROP TABLE idempotency_records;
ALTER TABLE idempotency_outcomes RENAME TO idempotency_records;
CREATE INDEX idempotency_records_expires_at_idx ON idempotency_records (expires_at);
