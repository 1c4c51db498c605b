-- Access tokens that are no longer accepted although they have not expired: those of a session, or those of a user
-- with a lower epoch. After forget_at no such token can be valid.
CREATE TABLE revocations (
    id         BLOB    NOT NULL PRIMARY KEY,
    kind       TEXT    NOT NULL CHECK (kind IN ('session', 'user')),
    subject    BLOB    NOT NULL,
    min_epoch  INTEGER,
    reason     TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    forget_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX revocations_created_at_idx ON revocations (created_at);
