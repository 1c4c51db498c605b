-- The history of users: rows are added and never changed.
CREATE TABLE user_events (
    event_id       BLOB    NOT NULL PRIMARY KEY,
    user_id        BLOB    NOT NULL,
    type           TEXT    NOT NULL,
    schema_version INTEGER NOT NULL,
    occurred_at    INTEGER NOT NULL,
    correlation_id TEXT    NOT NULL,
    payload        TEXT    NOT NULL CHECK (json_valid(payload))
) STRICT, WITHOUT ROWID;

CREATE INDEX user_events_user_id_idx ON user_events (user_id);

CREATE TRIGGER user_events_never_updated BEFORE UPDATE ON user_events
BEGIN
    SELECT RAISE(ABORT, 'user_events is append-only');
END;

CREATE TRIGGER user_events_never_deleted BEFORE DELETE ON user_events
BEGIN
    SELECT RAISE(ABORT, 'user_events is append-only');
END;
