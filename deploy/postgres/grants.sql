-- Creates the service's database user with the privileges that its statements need, by column: of an event of the
-- history it can change nothing but its payload, which an erasure removes. Run this as the owner of the database, after
-- `signup-service migrate`, and after every update. It is safe to repeat, and then resets the password.
--
--   SIGNUP_PASSWORD=… psql --set=ON_ERROR_STOP=1 --file=deploy/postgres/grants.sql
--
-- All other users lose the default right to connect: grant it to those who need it.
\getenv password SIGNUP_PASSWORD

BEGIN;

SELECT 'CREATE ROLE signup LOGIN'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'signup') \gexec
ALTER ROLE signup PASSWORD :'password';

REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO signup;

-- Privileges granted by older versions.
REVOKE ALL ON users, users_read, user_events, idempotency_records, signing_keys, sessions, login_throttle,
    one_time_tokens, revocations, mail_queue, counted_mails, roles, role_permissions, user_roles, service_keys, auth_log,
    user_tombstones, imports, import_refusals, _sqlx_migrations FROM signup;

GRANT SELECT (id, email_canonical, password_hash, created_at, status, email_verified_at, password_changed_at, token_epoch,
        version, locale),
    INSERT (id, name, email, email_canonical, password_hash, created_at, updated_at, locale),
    UPDATE (name, email, email_canonical, password_hash, password_changed_at, status, email_verified_at, token_epoch,
        version, updated_at, locale),
    DELETE
    ON users TO signup;

GRANT SELECT (id, name, email, email_canonical, display_name, created_at, email_verified, status, updated_at, version),
    INSERT (id, name, email, email_canonical, display_name, created_at),
    UPDATE (name, email, email_canonical, display_name, email_verified, status, updated_at, version),
    DELETE
    ON users_read TO signup;

GRANT SELECT (event_id, user_id, type, schema_version, occurred_at, correlation_id, payload),
    INSERT (event_id, user_id, type, schema_version, occurred_at, correlation_id, payload),
    UPDATE (payload)
    ON user_events TO signup;

GRANT SELECT (key_hash, fingerprint, outcome_version, outcome, request_id, mismatches, created_at,
        expires_at, subject_id),
    INSERT (key_hash, fingerprint, outcome_version, outcome, request_id, created_at, expires_at),
    UPDATE (fingerprint, outcome_version, outcome, request_id, mismatches, created_at, expires_at, subject_id),
    DELETE
    ON idempotency_records TO signup;

-- For the previous release, whose instances are still running during a rolling deployment.
GRANT SELECT (status, location, content_type, body),
    INSERT (status, location, content_type, body),
    UPDATE (status, location, content_type, body)
    ON idempotency_records TO signup;

GRANT SELECT (kid, alg, private_sealed, created_at, active_from, retired_at, remove_at),
    INSERT (kid, alg, public_jwk, private_sealed, created_at, active_from),
    UPDATE (private_sealed, active_from, retired_at, remove_at),
    DELETE
    ON signing_keys TO signup;

GRANT SELECT (id, user_id, nonce, generation, rotated_at, rotation_key, login_key, created_at, last_used_at, idle_until,
        expires_at, auth_time, amr, label, network, ended_at, end_reason),
    INSERT (id, user_id, nonce, rotated_at, login_key, created_at, last_used_at, idle_until, expires_at, auth_time, amr,
        label, network),
    UPDATE (generation, rotated_at, rotation_key, last_used_at, idle_until, network, auth_time, ended_at, end_reason),
    DELETE
    ON sessions TO signup;

GRANT SELECT (id, user_id, purpose, email_canonical, new_email, epoch, created_at, expires_at, used_at, voided_at,
        session_id),
    INSERT (id, user_id, purpose, email_canonical, new_email, epoch, created_at, expires_at, session_id),
    UPDATE (used_at, voided_at),
    DELETE
    ON one_time_tokens TO signup;

-- For the previous release, whose instances are still running during a rolling deployment.
GRANT SELECT (new_email_canonical), INSERT (new_email_canonical) ON one_time_tokens TO signup;

GRANT SELECT (id, kind, user_id, token_id, to_sealed, params, created_at, next_at, attempts, leased_until, sent_at,
        dead_at, last_error),
    INSERT (id, kind, user_id, token_id, to_sealed, params, created_at, next_at),
    UPDATE (kind, user_id, token_id, to_sealed, next_at, attempts, leased_until, sent_at, dead_at, last_error),
    DELETE
    ON mail_queue TO signup;

GRANT SELECT (mail_id, subject, at), INSERT (mail_id, subject, at), DELETE ON counted_mails TO signup;

GRANT SELECT (subject, failures, last_at, blocked_until),
    INSERT (subject, failures, last_at, blocked_until),
    UPDATE (failures, last_at, blocked_until),
    DELETE
    ON login_throttle TO signup;

GRANT SELECT (id, kind, subject, min_epoch, reason, created_at, forget_at),
    INSERT (id, kind, subject, min_epoch, reason, created_at, forget_at),
    DELETE
    ON revocations TO signup;

-- Rows of roles are locked by an UPDATE that changes nothing.
GRANT SELECT (name, created_at), INSERT (name, created_at), UPDATE (created_at), DELETE ON roles TO signup;
GRANT SELECT (role, permission), INSERT (role, permission), DELETE ON role_permissions TO signup;
GRANT SELECT (user_id, role, granted_by, granted_at),
    INSERT (user_id, role, granted_by, granted_at),
    DELETE
    ON user_roles TO signup;

GRANT SELECT (id, name, secret_hash, next_hash, permissions, created_by, created_at, expires_at, last_used_on, revoked_at),
    INSERT (id, name, secret_hash, permissions, created_by, created_at, expires_at),
    UPDATE (secret_hash, next_hash, expires_at, last_used_on, revoked_at)
    ON service_keys TO signup;

GRANT SELECT (id, user_id, session_id, actor, action, outcome, network, correlation_id, at),
    INSERT (id, user_id, session_id, actor, action, outcome, subject, network, correlation_id, at),
    DELETE
    ON auth_log TO signup;

GRANT SELECT (user_id, erased_at, actor), INSERT (user_id, erased_at, actor) ON user_tombstones TO signup;

-- For `users import` and `users export-all`.
GRANT SELECT (id, next_line, digest, imported, refused),
    INSERT (id, next_line, digest, started_at, updated_at),
    UPDATE (next_line, digest, imported, refused, updated_at)
    ON imports TO signup;
GRANT SELECT (import_id, line, field, code), INSERT (import_id, line, field, code) ON import_refusals TO signup;

GRANT SELECT (version, success) ON _sqlx_migrations TO signup;

COMMIT;
