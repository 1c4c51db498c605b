-- The user that the service runs as, who may do no more than its statements need: it can read no password hash,
-- and change nothing that it has written but the answers to keys. Run it as the owner of the database, after
-- `signup-service migrate`, and after every update. It may be run again, and then sets the password anew.
--
--   SIGNUP_PASSWORD=… psql --set=ON_ERROR_STOP=1 --file=deploy/postgres/grants.sql
--
-- Everybody else loses the right to connect that PostgreSQL gives by default: grant it to whom you want.
\getenv password SIGNUP_PASSWORD

BEGIN;

SELECT 'CREATE ROLE signup LOGIN'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'signup') \gexec
ALTER ROLE signup PASSWORD :'password';

REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO signup;

-- What an older version was granted.
REVOKE ALL ON users, users_read, user_events, idempotency_records, _sqlx_migrations FROM signup;

-- The one column that tells whether an address is taken.
GRANT SELECT (email_canonical),
    INSERT (id, name, email, email_canonical, password_hash, created_at, updated_at)
    ON users TO signup;

GRANT SELECT (id, name, email, email_canonical, display_name, created_at),
    INSERT (id, name, email, email_canonical, display_name, created_at)
    ON users_read TO signup;

GRANT INSERT (event_id, user_id, type, schema_version, occurred_at, correlation_id, payload)
    ON user_events TO signup;

GRANT SELECT (key_hash, fingerprint, outcome_version, outcome, request_id, mismatches, created_at,
        expires_at),
    INSERT (key_hash, fingerprint, outcome_version, outcome, request_id, created_at, expires_at),
    UPDATE (fingerprint, outcome_version, outcome, request_id, mismatches, created_at, expires_at),
    DELETE
    ON idempotency_records TO signup;

-- Of the release before, whose instances run on while a deployment rolls.
GRANT SELECT (status, location, content_type, body),
    INSERT (status, location, content_type, body),
    UPDATE (status, location, content_type, body)
    ON idempotency_records TO signup;

GRANT SELECT (version, success) ON _sqlx_migrations TO signup;

COMMIT;
