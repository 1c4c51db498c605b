DROP TABLE auth_log;
