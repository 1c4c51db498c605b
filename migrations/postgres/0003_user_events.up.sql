-- The history of users: rows are added and never changed.
CREATE TABLE user_events (
    event_id       uuid        NOT NULL,
    user_id        uuid        NOT NULL,
    type           text        NOT NULL,
    schema_version smallint    NOT NULL,
    occurred_at    timestamptz NOT NULL,
    correlation_id text        NOT NULL,
    payload        jsonb       NOT NULL,
    CONSTRAINT user_events_pkey PRIMARY KEY (event_id)
);

CREATE INDEX user_events_user_id_idx ON user_events (user_id);

CREATE FUNCTION user_events_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'user_events is append-only';
END
$$;

CREATE TRIGGER user_events_append_only BEFORE UPDATE OR DELETE ON user_events
    FOR EACH ROW EXECUTE FUNCTION user_events_are_append_only();
