-- Mails to send. A row commits with its cause. It has ids and parameters that are no secret: the address is the user's,
-- or sealed if there is no user; the token in a link is derived when the mail is made.
CREATE TABLE mail_queue (
    id           uuid        NOT NULL,
    kind         text        NOT NULL,
    user_id      uuid,
    token_id     uuid,
    to_sealed    bytea,
    params       jsonb       NOT NULL,
    created_at   timestamptz NOT NULL,
    next_at      timestamptz NOT NULL,
    attempts     integer     NOT NULL DEFAULT 0,
    leased_until timestamptz,
    sent_at      timestamptz,
    dead_at      timestamptz,
    last_error   text,
    CONSTRAINT mail_queue_pkey PRIMARY KEY (id)
);

-- What is due.
CREATE INDEX mail_queue_next_at_idx ON mail_queue (next_at) WHERE sent_at IS NULL AND dead_at IS NULL;
-- For the export and the erasure of a user.
CREATE INDEX mail_queue_user_id_idx ON mail_queue (user_id);
-- To remove what was sent or given up.
CREATE INDEX mail_queue_created_at_idx ON mail_queue (created_at);
