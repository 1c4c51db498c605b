-- A record keeps what its command came to, as JSON, and no more the response of one face. The next
-- migration takes the records that there are across.
DROP INDEX idempotency_records_expires_at_idx;
ALTER TABLE idempotency_records RENAME TO idempotency_responses;

CREATE TABLE idempotency_records (
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

CREATE INDEX idempotency_records_expires_at_idx ON idempotency_records (expires_at);
