-- What was answered to a key, kept until it expires. The key and the request are here only as
-- keyed hashes. Signup writes its row in the transaction that makes the account.
CREATE TABLE idempotency_records (
    key_hash     bytea NOT NULL,
    fingerprint  bytea NOT NULL,
    status       smallint NOT NULL,
    location     text,
    content_type text NOT NULL,
    body         bytea NOT NULL,
    mismatches   integer NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    CONSTRAINT idempotency_records_pkey PRIMARY KEY (key_hash)
);

CREATE INDEX idempotency_records_expires_at_idx ON idempotency_records (expires_at);
