-- The command side. Uniqueness of an account is decided here.
CREATE TABLE users (
    id              uuid        NOT NULL,
    name            text        NOT NULL,
    email           text        NOT NULL,
    email_canonical text        NOT NULL,
    password_hash   text        NOT NULL,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_email_canonical_key UNIQUE (email_canonical)
);
