//! Records on PostgreSQL.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::super::{PgPool, WriteTransaction, wants_retry};
use super::{Found, merge, record};
use crate::domain::{Answer, Claim, Identity, KeyHash, Record};
use crate::platform::telemetry::spans::{System, statement};

const SYSTEM: System = System::Postgres;

// A record that has expired is as good as none.
pub(crate) const CLAIM: &str = "INSERT INTO idempotency_records \
     (key_hash, fingerprint, status, location, content_type, body, created_at, expires_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
     ON CONFLICT (key_hash) DO UPDATE SET \
     fingerprint = excluded.fingerprint, status = excluded.status, location = excluded.location, \
     content_type = excluded.content_type, body = excluded.body, mismatches = 0, \
     created_at = excluded.created_at, expires_at = excluded.expires_at \
     WHERE idempotency_records.expires_at <= excluded.created_at";

pub(crate) const ANSWER: &str = "UPDATE idempotency_records \
     SET status = $2, location = $3, content_type = $4, body = $5 WHERE key_hash = $1";

pub(crate) const FIND: &str = "SELECT fingerprint, CAST(status AS bigint), location, content_type, body, \
     CAST(mismatches AS bigint) \
     FROM idempotency_records WHERE key_hash = $1 AND expires_at > $2";

// A key that is worn out is not written to any more.
pub(crate) const COUNT_MISMATCH: &str = "UPDATE idempotency_records \
     SET mismatches = mismatches + 1 WHERE key_hash = $1 AND mismatches <= $2 \
     RETURNING CAST(mismatches AS bigint)";

// By the clock of the database, too, as those of the instances may differ. What is locked is left
// alone: another instance removes it, or a signup claims it anew.
pub(crate) const PURGE: &str = "DELETE FROM idempotency_records \
     WHERE key_hash = ANY (ARRAY(SELECT key_hash FROM idempotency_records \
     WHERE expires_at <= least($1, now()) - $2 * interval '1 second' \
     ORDER BY expires_at LIMIT $3 FOR UPDATE SKIP LOCKED))";

/// Takes every identity of a claim, with this answer; says whether nobody had one of them.
///
/// # Errors
/// The driver's.
pub async fn claim(
    connection: &mut PgConnection,
    claim: &Claim,
    answer: &Answer,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    for identity in &claim.identities {
        let claimed = sqlx::query(CLAIM)
            .bind(identity.key.0.as_slice())
            .bind(identity.fingerprint.0.as_slice())
            .bind(i64::from(answer.status))
            .bind(answer.location.as_deref())
            .bind(answer.content_type.as_str())
            .bind(answer.body.as_slice())
            .bind(now)
            .bind(now + claim.life)
            .execute(&mut *connection);
        let taken = statement(SYSTEM, "INSERT", "idempotency_records", claimed).await?;
        if taken.rows_affected() == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Puts another answer into what was claimed in this transaction.
///
/// # Errors
/// The driver's.
pub async fn answer(
    connection: &mut PgConnection,
    claim: &Claim,
    answer: &Answer,
) -> Result<(), sqlx::Error> {
    for identity in &claim.identities {
        let answered = sqlx::query(ANSWER)
            .bind(identity.key.0.as_slice())
            .bind(i64::from(answer.status))
            .bind(answer.location.as_deref())
            .bind(answer.content_type.as_str())
            .bind(answer.body.as_slice())
            .execute(&mut *connection);
        statement(SYSTEM, "UPDATE", "idempotency_records", answered).await?;
    }
    Ok(())
}

/// The record of these identities that has not expired.
///
/// # Errors
/// The driver's.
pub async fn find(
    pool: &PgPool,
    identities: &[Identity],
    now: DateTime<Utc>,
) -> Result<Option<Record>, sqlx::Error> {
    let mut first = None;
    for identity in identities {
        let query = || {
            sqlx::query_as(FIND)
                .bind(identity.key.0.as_slice())
                .bind(now)
        };
        let found: Vec<Found> = pool.fetch_all("idempotency_records", query).await?;
        for found in found {
            merge(&mut first, record(identity.key, found)?);
        }
    }
    Ok(first)
}

/// Counts a mismatch, and says how many there are; `None` where there are more than `most` already,
/// or there is no record.
pub(super) async fn count_mismatch(
    pool: &PgPool,
    key: KeyHash,
    most: u32,
) -> Result<Option<i64>, sqlx::Error> {
    let query = || {
        sqlx::query_as(COUNT_MISMATCH)
            .bind(key.0.as_slice())
            .bind(i64::from(most))
    };
    let counts: Vec<(i64,)> = pool.update("idempotency_records", query).await?;
    Ok(counts.first().map(|(count,)| *count))
}

pub(super) async fn purge(
    pool: &PgPool,
    now: DateTime<Utc>,
    margin: Duration,
    most: u32,
) -> Result<u64, sqlx::Error> {
    let attempt = async || {
        let mut transaction = WriteTransaction::begin(pool.acquire().await?).await?;
        let purged = sqlx::query(PURGE)
            .bind(now)
            .bind(margin.as_secs_f64())
            .bind(i64::from(most))
            .execute(transaction.connection())
            .await?;
        transaction.commit().await?;
        Ok(purged.rows_affected())
    };
    match attempt().await {
        Err(error) if wants_retry(&error).is_some() => {
            pool.forget_plans();
            attempt().await
        }
        result => result,
    }
}
