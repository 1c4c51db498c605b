-- Failed logins in a row, by subject: a keyed hash of an address, or of an address and a known device. Addresses
-- without an account have rows as well.
CREATE TABLE login_throttle (
    subject       bytea       NOT NULL,
    failures      integer     NOT NULL,
    last_at       timestamptz NOT NULL,
    blocked_until timestamptz NOT NULL,
    CONSTRAINT login_throttle_pkey PRIMARY KEY (subject)
) WITH (fillfactor = 80);

-- To forget the old ones.
CREATE INDEX login_throttle_last_at_idx ON login_throttle (last_at);
