-- The keys that sign access tokens. The private half is encrypted under AUTH_SECRET. The states of a key follow
-- from its times.
CREATE TABLE signing_keys (
    kid            text        NOT NULL,
    alg            text        NOT NULL,
    public_jwk     jsonb       NOT NULL,
    private_sealed bytea       NOT NULL,
    created_at     timestamptz NOT NULL,
    active_from    timestamptz NOT NULL,
    retired_at     timestamptz,
    remove_at      timestamptz,
    CONSTRAINT signing_keys_pkey PRIMARY KEY (kid)
);

-- One key has no successor yet.
CREATE UNIQUE INDEX signing_keys_head_idx ON signing_keys ((retired_at IS NULL)) WHERE retired_at IS NULL;
