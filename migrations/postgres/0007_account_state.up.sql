-- What an account may do. A password hash of '!' is no password. Every change of an account raises its version; the
-- epoch rises when access tokens that were issued before must no longer be accepted.
--
-- Instances of the release before insert neither of these columns: the defaults are those of a new account.
ALTER TABLE users
    ADD COLUMN status              text        NOT NULL DEFAULT 'active' CONSTRAINT users_status_check
        CHECK (status IN ('active', 'suspended')),
    ADD COLUMN email_verified_at   timestamptz,
    ADD COLUMN password_changed_at timestamptz,
    ADD COLUMN token_epoch         integer     NOT NULL DEFAULT 0,
    ADD COLUMN version             integer     NOT NULL DEFAULT 0;

-- Null in updated_at: never changed since created_at.
ALTER TABLE users_read
    ADD COLUMN email_verified boolean NOT NULL DEFAULT false,
    ADD COLUMN status         text    NOT NULL DEFAULT 'active',
    ADD COLUMN updated_at     timestamptz,
    ADD COLUMN version        integer NOT NULL DEFAULT 0;
