-- Mails to send. A row commits with its cause. It has ids and parameters that are no secret: the address is the user's,
-- or sealed if there is no user; the token in a link is derived when the mail is made.
CREATE TABLE mail_queue (
    id           BLOB    NOT NULL PRIMARY KEY,
    kind         TEXT    NOT NULL,
    user_id      BLOB,
    token_id     BLOB,
    to_sealed    BLOB,
    params       TEXT    NOT NULL CHECK (json_valid(params)),
    created_at   INTEGER NOT NULL,
    next_at      INTEGER NOT NULL,
    attempts     INTEGER NOT NULL DEFAULT 0,
    leased_until INTEGER,
    sent_at      INTEGER,
    dead_at      INTEGER,
    last_error   TEXT
) STRICT, WITHOUT ROWID;

-- What is due.
CREATE INDEX mail_queue_next_at_idx ON mail_queue (next_at) WHERE sent_at IS NULL AND dead_at IS NULL;
-- For the export and the erasure of a user.
CREATE INDEX mail_queue_user_id_idx ON mail_queue (user_id);
-- To remove what was sent or given up.
CREATE INDEX mail_queue_created_at_idx ON mail_queue (created_at);
