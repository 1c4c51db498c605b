//! Records on SQLite.

use chrono::{DateTime, Utc};
use sqlx::SqliteConnection;

use super::super::{SqlitePool, WriteTransaction};
use super::{Found, merge, record};
use crate::domain::{Answer, Claim, Identity, KeyHash, Record};
use crate::platform::telemetry::spans::{System, statement};

const SYSTEM: System = System::Sqlite;

// A record that has expired is as good as none.
pub(crate) const CLAIM: &str = "INSERT INTO idempotency_records \
     (key_hash, fingerprint, status, location, content_type, body, created_at, expires_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
     ON CONFLICT (key_hash) DO UPDATE SET \
     fingerprint = excluded.fingerprint, status = excluded.status, location = excluded.location, \
     content_type = excluded.content_type, body = excluded.body, mismatches = 0, \
     created_at = excluded.created_at, expires_at = excluded.expires_at \
     WHERE idempotency_records.expires_at <= excluded.created_at";

pub(crate) const ANSWER: &str = "UPDATE idempotency_records \
     SET status = ?2, location = ?3, content_type = ?4, body = ?5 WHERE key_hash = ?1";

pub(crate) const FIND: &str = "SELECT fingerprint, CAST(status AS bigint), location, content_type, body, \
     CAST(mismatches AS bigint) \
     FROM idempotency_records WHERE key_hash = ?1 AND expires_at > ?2";

// A key that is worn out is not written to any more.
pub(crate) const COUNT_MISMATCH: &str = "UPDATE idempotency_records \
     SET mismatches = mismatches + 1 WHERE key_hash = ?1 AND mismatches <= ?2 \
     RETURNING CAST(mismatches AS bigint)";

pub(crate) const PURGE: &str = "DELETE FROM idempotency_records \
     WHERE expires_at <= ?1 AND key_hash IN \
     (SELECT key_hash FROM idempotency_records WHERE expires_at <= ?1 \
     ORDER BY expires_at LIMIT ?2)";

/// Takes every identity of a claim, with this answer; says whether nobody had one of them.
///
/// # Errors
/// The driver's.
pub async fn claim(
    connection: &mut SqliteConnection,
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
            .bind(now.timestamp_micros())
            .bind((now + claim.life).timestamp_micros())
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
    connection: &mut SqliteConnection,
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
    connection: &mut SqliteConnection,
    identities: &[Identity],
    now: DateTime<Utc>,
) -> Result<Option<Record>, sqlx::Error> {
    let mut first = None;
    for identity in identities {
        let looked = sqlx::query_as(FIND)
            .bind(identity.key.0.as_slice())
            .bind(now.timestamp_micros())
            .fetch_optional(&mut *connection);
        let found: Option<Found> =
            statement(SYSTEM, "SELECT", "idempotency_records", looked).await?;
        if let Some(found) = found {
            merge(&mut first, record(identity.key, found)?);
        }
    }
    Ok(first)
}

/// Counts a mismatch, and says how many there are; `None` where there are more than `most` already,
/// or there is no record.
pub(super) async fn count_mismatch(
    pool: &SqlitePool,
    key: KeyHash,
    most: u32,
) -> Result<Option<i64>, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    let counted = sqlx::query_scalar(COUNT_MISMATCH)
        .bind(key.0.as_slice())
        .bind(i64::from(most))
        .fetch_optional(&mut *connection);
    let counted = statement(SYSTEM, "UPDATE", "idempotency_records", counted).await;
    connection.finish(&counted);
    counted
}

pub(super) async fn purge(
    pool: &SqlitePool,
    expired_by: DateTime<Utc>,
    most: u32,
) -> Result<u64, sqlx::Error> {
    let mut transaction = WriteTransaction::begin(pool.acquire().await?).await?;
    let purged = sqlx::query(PURGE)
        .bind(expired_by.timestamp_micros())
        .bind(i64::from(most))
        .execute(transaction.connection())
        .await?;
    transaction.commit().await?;
    Ok(purged.rows_affected())
}
