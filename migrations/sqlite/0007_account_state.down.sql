ALTER TABLE users_read DROP COLUMN email_verified;
ALTER TABLE users_read DROP COLUMN status;
ALTER TABLE users_read DROP COLUMN updated_at;
ALTER TABLE users_read DROP COLUMN version;

ALTER TABLE users DROP COLUMN status;
ALTER TABLE users DROP COLUMN email_verified_at;
ALTER TABLE users DROP COLUMN password_changed_at;
ALTER TABLE users DROP COLUMN token_epoch;
ALTER TABLE users DROP COLUMN version;
