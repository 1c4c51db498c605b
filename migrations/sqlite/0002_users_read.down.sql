DROP TABLE users_read;
