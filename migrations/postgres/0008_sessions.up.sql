-- Sessions. A refresh token is derived from the id, the generation and the nonce, under a secret that is not here: no
-- token can be made from a row. rotation_key and login_key are keyed hashes of Idempotency-Keys.
--
-- A refresh changes no indexed column, so that it is a heap-only update.
CREATE TABLE sessions (
    id           uuid        NOT NULL,
    user_id      uuid        NOT NULL,
    nonce        bytea       NOT NULL,
    generation   integer     NOT NULL DEFAULT 0,
    rotated_at   timestamptz NOT NULL,
    rotation_key bytea,
    login_key    bytea,
    created_at   timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    idle_until   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    auth_time    timestamptz NOT NULL,
    amr          text        NOT NULL,
    label        text,
    network      text,
    ended_at     timestamptz,
    end_reason   text,
    dpop_jkt     text,
    CONSTRAINT sessions_pkey PRIMARY KEY (id),
    CONSTRAINT sessions_login_key_key UNIQUE (login_key),
    CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
) WITH (fillfactor = 80);

-- For the list of a user's sessions, and to end them.
CREATE INDEX sessions_live_idx ON sessions (user_id) WHERE ended_at IS NULL;
-- To remove the old ones.
CREATE INDEX sessions_expires_at_idx ON sessions (expires_at);
CREATE INDEX sessions_ended_at_idx ON sessions (ended_at) WHERE ended_at IS NOT NULL;
