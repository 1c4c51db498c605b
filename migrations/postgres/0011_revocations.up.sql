-- Access tokens that are no longer accepted although they have not expired: those of a session, or those of a user
-- with a lower epoch. Every instance reads the rows of the last seconds; after forget_at no such token can be valid.
CREATE TABLE revocations (
    id         uuid        NOT NULL,
    kind       text        NOT NULL CONSTRAINT revocations_kind_check CHECK (kind IN ('session', 'user')),
    subject    uuid        NOT NULL,
    min_epoch  integer,
    reason     text        NOT NULL,
    created_at timestamptz NOT NULL,
    forget_at  timestamptz NOT NULL,
    CONSTRAINT revocations_pkey PRIMARY KEY (id)
);

CREATE INDEX revocations_created_at_idx ON revocations (created_at);
