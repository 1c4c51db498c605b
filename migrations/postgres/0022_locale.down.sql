ALTER TABLE users_read DROP COLUMN locale;
