ALTER TABLE users_read
    DROP COLUMN email_verified,
    DROP COLUMN status,
    DROP COLUMN updated_at,
    DROP COLUMN version;

ALTER TABLE users
    DROP COLUMN status,
    DROP COLUMN email_verified_at,
    DROP COLUMN password_changed_at,
    DROP COLUMN token_epoch,
    DROP COLUMN version;
