-- Logins, refreshes, ended sessions and changes of keys and roles, for 90 days. No address, password, token or key
-- is here; the network is that of a client, cut as in the log. subject is the id of a key, or the name of a role.
CREATE TABLE auth_log (
    id             uuid        NOT NULL,
    user_id        uuid,
    session_id     uuid,
    actor          text        NOT NULL,
    action         text        NOT NULL,
    outcome        text        NOT NULL,
    subject        text,
    network        text,
    correlation_id text        NOT NULL,
    at             timestamptz NOT NULL,
    CONSTRAINT auth_log_pkey PRIMARY KEY (id)
);

CREATE INDEX auth_log_user_id_at_idx ON auth_log (user_id, at);
-- To remove the old ones.
CREATE INDEX auth_log_at_idx ON auth_log (at);
