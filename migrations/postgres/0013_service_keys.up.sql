-- Keys of machines. Only keyed hashes of their secrets are here; next_hash is that of a new secret while both are
-- accepted. last_used_on is a day, as its midnight in UTC.
CREATE TABLE service_keys (
    id           text        NOT NULL,
    name         text        NOT NULL,
    secret_hash  bytea       NOT NULL,
    next_hash    bytea,
    permissions  jsonb       NOT NULL,
    created_by   text        NOT NULL,
    created_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    last_used_on timestamptz,
    revoked_at   timestamptz,
    CONSTRAINT service_keys_pkey PRIMARY KEY (id)
);
