-- Failed logins in a row, by subject: a keyed hash of an address, or of an address and a known device. Addresses
-- without an account have rows as well.
CREATE TABLE login_throttle (
    subject       BLOB    NOT NULL PRIMARY KEY,
    failures      INTEGER NOT NULL,
    last_at       INTEGER NOT NULL,
    blocked_until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- To forget the old ones.
CREATE INDEX login_throttle_last_at_idx ON login_throttle (last_at);
