-- Logins, refreshes, ended sessions and changes of keys and roles, for 90 days. No address, password, token or key
-- is here; the network is that of a client, cut as in the log. subject is the id of a key, or the name of a role.
CREATE TABLE auth_log (
    id             BLOB    NOT NULL PRIMARY KEY,
    user_id        BLOB,
    session_id     BLOB,
    actor          TEXT    NOT NULL,
    action         TEXT    NOT NULL,
    outcome        TEXT    NOT NULL,
    subject        TEXT,
    network        TEXT,
    correlation_id TEXT    NOT NULL,
    at             INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX auth_log_user_id_at_idx ON auth_log (user_id, at);
-- To remove the old ones.
CREATE INDEX auth_log_at_idx ON auth_log (at);
