-- The user that the service runs as, who may do no more than it needs. Run it as the owner of the tables,
-- after `signup-service migrate`. It may be run again, and then sets the password anew.
--
--   SIGNUP_PASSWORD=… psql --set=ON_ERROR_STOP=1 --file=deploy/postgres/grants.sql
\getenv password SIGNUP_PASSWORD

SELECT 'CREATE ROLE signup LOGIN'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'signup') \gexec
ALTER ROLE signup PASSWORD :'password';

GRANT SELECT, INSERT ON users, users_read, user_events TO signup;
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_records TO signup;
GRANT SELECT ON _sqlx_migrations TO signup;
