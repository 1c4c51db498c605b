-- What an account may do. A password hash of '!' is no password. Every change of an account raises its version; the
-- epoch rises when access tokens that were issued before must no longer be accepted.
ALTER TABLE users ADD COLUMN status TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended'));
ALTER TABLE users ADD COLUMN email_verified_at INTEGER;
ALTER TABLE users ADD COLUMN password_changed_at INTEGER;
ALTER TABLE users ADD COLUMN token_epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN version INTEGER NOT NULL DEFAULT 0;

-- Null in updated_at: never changed since created_at.
ALTER TABLE users_read ADD COLUMN email_verified INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users_read ADD COLUMN status TEXT NOT NULL DEFAULT 'active';
ALTER TABLE users_read ADD COLUMN updated_at INTEGER;
ALTER TABLE users_read ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
