-- What was answered to a key, kept until it expires. The key and the request are here only as
-- keyed hashes. Signup writes its row in the transaction that makes the account.
CREATE TABLE idempotency_records (
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

CREATE INDEX idempotency_records_expires_at_idx ON idempotency_records (expires_at);
