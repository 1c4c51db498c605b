//! The records of keys and their outcomes.
//!
//! [`claim`] and [`complete`] run within the transaction of the command, by
//! [`Keyed`](super::Keyed). All other operations are methods of [`Records`].

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Outcome;
use super::fingerprint::{Claim, Identity, KeyFingerprint, RequestFingerprint};
use crate::domain::{StoreError, UserId};
use crate::platform::database::{Database, Error, Micros, Pools, Statement, Transaction};

/// The record of a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The key under which it was found.
    pub key: KeyFingerprint,
    /// The first request with the key.
    pub request: RequestFingerprint,
    /// Its outcome.
    pub stored: Stored,
    /// How often the key has been used with another request since.
    pub mismatches: u32,
}

/// A stored outcome.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// The version of its form.
    pub version: i16,
    /// The outcome as JSON.
    pub outcome: String,
    /// The id of the request that produced it.
    pub request_id: String,
}

// They may contain a user's values.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Record(..)")
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stored(..)")
    }
}

impl Stored {
    /// Serialises an outcome.
    ///
    /// # Errors
    /// When it cannot be serialised as JSON.
    pub fn new<O: Outcome>(outcome: &O, request_id: String) -> Result<Self, Error> {
        let outcome =
            serde_json::to_string(outcome).map_err(|error| Error::Encode(error.into()))?;
        Ok(Self {
            version: O::VERSION,
            outcome,
            request_id,
        })
    }

    /// Parses the outcome.
    ///
    /// # Errors
    /// Unavailable if a newer release wrote it; broken if it is invalid.
    pub fn read<O: Outcome>(&self) -> Result<O, StoreError> {
        if self.version > O::VERSION {
            return Err(StoreError::unavailable(
                "the outcome was recorded by a newer release",
            ));
        }
        O::read(self.version, &self.outcome)
            .ok_or_else(|| StoreError::broken("a recorded outcome is invalid"))
    }
}

// An expired record counts as none. The outcome follows within the transaction.
static CLAIM: Statement = Statement::new(
    "INSERT INTO idempotency_records \
     (key_hash, fingerprint, outcome_version, outcome, request_id, created_at, expires_at) \
     VALUES ($1, $2, 0, 'null', '', $3, $4) \
     ON CONFLICT (key_hash) DO UPDATE SET \
     fingerprint = excluded.fingerprint, outcome_version = excluded.outcome_version, \
     outcome = excluded.outcome, request_id = excluded.request_id, mismatches = 0, \
     created_at = excluded.created_at, expires_at = excluded.expires_at \
     WHERE idempotency_records.expires_at <= excluded.created_at",
);

static COMPLETE: Statement = Statement::new(
    "UPDATE idempotency_records SET outcome_version = $2, outcome = $3, request_id = $4, \
     subject_id = $5 WHERE key_hash = $1",
);

static FIND: Statement = Statement::new(
    "SELECT fingerprint, CAST(outcome_version AS bigint), outcome, request_id, \
     CAST(mismatches AS bigint) \
     FROM idempotency_records WHERE key_hash = $1 AND expires_at > $2",
);

static REDACT: Statement = Statement::new(
    "UPDATE idempotency_records SET outcome_version = 1, outcome = $2, subject_id = NULL \
     WHERE subject_id = $1 RETURNING key_hash",
);

/// The outcome of a key whose user was erased, in the form of every [`Outcome`] with a subject.
pub(super) const ERASED: &str = "\"account_erased\"";

// An exhausted key is not written to any more.
static COUNT_MISMATCH: Statement = Statement::new(
    "UPDATE idempotency_records SET mismatches = mismatches + 1 \
     WHERE key_hash = $1 AND mismatches <= $2 RETURNING CAST(mismatches AS bigint)",
);

// Also by the clock of the database, as those of the instances may differ. Locked records are
// skipped: another instance removes them, or a command claims them again.
static PURGE_POSTGRES: Statement = Statement::new(
    "DELETE FROM idempotency_records \
     WHERE key_hash = ANY (ARRAY(SELECT key_hash FROM idempotency_records \
     WHERE expires_at <= least($1, now() - $3 * interval '1 second') \
     ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING 1",
);

static PURGE_SQLITE: Statement = Statement::new(
    "DELETE FROM idempotency_records WHERE expires_at <= $1 AND key_hash IN \
     (SELECT key_hash FROM idempotency_records WHERE expires_at <= $1 \
     ORDER BY expires_at LIMIT $2) RETURNING 1",
);

/// Claims every identity. Returns whether none of them was taken.
///
/// # Errors
/// The driver's.
pub async fn claim(
    transaction: &mut Transaction,
    claim: &Claim,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    for Identity { key, request } in &claim.identities {
        let record = (
            key.0.as_slice(),
            request.0.as_slice(),
            Micros(now),
            Micros(now + claim.life),
        );
        if transaction.execute(&CLAIM, record).await? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes the outcome into the records claimed in this transaction.
///
/// # Errors
/// The driver's.
pub async fn complete(
    transaction: &mut Transaction,
    claim: &Claim,
    stored: &Stored,
    subject: Option<UserId>,
) -> Result<(), Error> {
    for Identity { key, .. } in &claim.identities {
        let outcome = (
            key.0.as_slice(),
            stored.version,
            stored.outcome.as_str(),
            stored.request_id.as_str(),
            subject.map(UserId::as_uuid),
        );
        transaction.execute(&COMPLETE, outcome).await?;
    }
    Ok(())
}

/// Gives the records that have the name or address of this user the outcome `account_erased`: a late
/// retry does not make the account again. Returns their keys, whose copies are then to be removed by
/// [`Idempotency::forget`](super::Idempotency::forget).
///
/// # Errors
/// The driver's.
pub async fn redact(
    transaction: &mut Transaction,
    subject: UserId,
) -> Result<Vec<KeyFingerprint>, Error> {
    let row = (subject.as_uuid(), ERASED);
    let keys: Vec<(Vec<u8>,)> = transaction.fetch_all(&REDACT, row).await?;
    let keys = keys.into_iter().filter_map(|(key,)| key.try_into().ok());
    Ok(keys.map(KeyFingerprint).collect())
}

/// A row of a record: request, version, outcome, request id, mismatches.
type Found = (Vec<u8>, i64, String, String, i64);

fn record(key: KeyFingerprint, found: Found) -> Result<Record, StoreError> {
    let (request, version, outcome, request_id, mismatches) = found;
    let request = request
        .try_into()
        .map_err(|_| StoreError::broken("a fingerprint has 32 bytes"))?;
    Ok(Record {
        key,
        request: RequestFingerprint(request),
        stored: Stored {
            version: i16::try_from(version).map_err(StoreError::broken)?,
            outcome,
            request_id,
        },
        mismatches: u32::try_from(mismatches).unwrap_or(u32::MAX),
    })
}

/// A claim that was made under two secrets has two records. They differ in the mismatches that an
/// instance with one secret has counted: the larger number counts.
fn merge(first: &mut Option<Record>, found: Record) {
    match first {
        None => *first = Some(found),
        Some(first) => first.mismatches = first.mismatches.max(found.mismatches),
    }
}

/// A claim was lost to a record that could not be found afterwards: it expired in between. A retry
/// will succeed.
#[must_use]
pub fn expired_meanwhile() -> StoreError {
    StoreError::unavailable("the record of the key expired meanwhile")
}

/// Looks up and removes records. It uses the write connections: a replica may lag.
#[derive(Clone)]
pub struct Records {
    database: Database,
}

impl Records {
    /// The records of this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// The record of these identities, if it has not expired.
    ///
    /// # Errors
    /// When the store is unavailable, or reports an error.
    pub async fn find(
        &self,
        identities: &[Identity],
        now: DateTime<Utc>,
    ) -> Result<Option<Record>, StoreError> {
        let mut first = None;
        for Identity { key, .. } in identities {
            let looked_for = (key.0.as_slice(), Micros(now));
            let found: Option<Found> = self.database.fetch_latest(&FIND, looked_for).await?;
            if let Some(found) = found {
                merge(&mut first, record(*key, found)?);
            }
        }
        Ok(first)
    }

    /// Records that a key was used with another request, and returns how often. Beyond `most`
    /// times, nothing is written any more.
    ///
    /// # Errors
    /// When the store is unavailable, or reports an error.
    pub async fn count_mismatch(
        &self,
        identities: &[Identity],
        most: u32,
    ) -> Result<u32, StoreError> {
        let mut found = None;
        for Identity { key, .. } in identities {
            let counted = (key.0.as_slice(), i64::from(most));
            let counts: Vec<(i64,)> = self.database.write_one(&COUNT_MISMATCH, counted).await?;
            found = found.max(counts.first().map(|(count,)| *count));
        }
        // None is left to count: another request has exhausted the key meanwhile.
        let exhausted = most.saturating_add(1);
        Ok(found.map_or(exhausted, |count| u32::try_from(count).unwrap_or(u32::MAX)))
    }

    /// Removes up to `most` records that expired longer than the margin ago, and returns how many.
    /// On PostgreSQL the database's clock must agree.
    ///
    /// # Errors
    /// When the store is unavailable, or reports an error.
    pub async fn purge(
        &self,
        now: DateTime<Utc>,
        margin: Duration,
        most: u32,
    ) -> Result<u64, StoreError> {
        let (end, most) = (Micros(now - margin), i64::from(most));
        let purged: Vec<()> = match self.database.pools() {
            Pools::Postgres { .. } => {
                let limits = (end, most, margin.as_secs_f64());
                self.database.write_one(&PURGE_POSTGRES, limits).await?
            }
            Pools::Sqlite { .. } => self.database.write_one(&PURGE_SQLITE, (end, most)).await?,
        };
        Ok(purged.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use rstest::rstest;

    use super::*;
    use crate::config::Backend::{self, Postgres, Sqlite};
    use crate::platform::database::WriteTransaction;
    use crate::platform::database::testing::TestDatabase;

    const EXPIRED: u64 = 100_000;
    const BATCH: u32 = 500;
    const NO_MARGIN: Duration = Duration::ZERO;

    fn now() -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000)
    }

    /// Inserts expired records, and ten that are not.
    async fn fill(test: &TestDatabase) {
        let (numbers, key, time) = match test.backend {
            Sqlite => (
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100010) ",
                "CAST(printf('%032d', i) AS BLOB)",
                "CASE WHEN i <= 100000 THEN 1 ELSE 4000000000000000 END",
            ),
            Postgres => (
                "WITH n(i) AS (SELECT generate_series(1, 100010)) ",
                "convert_to(lpad(i::text, 32, '0'), 'UTF8')",
                "to_timestamp(CASE WHEN i <= 100000 THEN 1 ELSE 4000000000 END)",
            ),
        };
        test.sql(&format!(
            "INSERT INTO idempotency_records \
             (key_hash, fingerprint, outcome_version, outcome, request_id, created_at, expires_at) \
             {numbers} SELECT {key}, {key}, 1, 'null', '', {time}, {time} FROM n"
        ))
        .await;
    }

    #[rstest]
    #[tokio::test]
    async fn a_hundred_thousand_expired_records_are_removed_in_small_batches(
        #[values(Sqlite, Postgres)] backend: Backend,
    ) {
        let test = TestDatabase::new(backend).await;
        fill(&test).await;
        let records = Records::new(test.database.clone());
        let now = now();
        let mut purged = 0;
        loop {
            let batch = records.purge(now, NO_MARGIN, BATCH).await.expect("purged");
            assert!(batch <= u64::from(BATCH));
            purged += batch;
            if batch < u64::from(BATCH) {
                break;
            }
        }
        assert_eq!(purged, EXPIRED);
        let left = test
            .sql("SELECT CAST(count(*) AS TEXT) FROM idempotency_records")
            .await;
        assert_eq!(left, ["10"]);
    }

    #[tokio::test]
    async fn instances_that_purge_at_once_take_different_records() {
        let test = TestDatabase::new(Postgres).await;
        fill(&test).await;
        let Pools::Postgres { write, .. } = test.database.pools() else {
            unreachable!("just made");
        };
        // Another instance is about to remove the first batch, and an unrelated session has a lock.
        let mut other = WriteTransaction::begin(write.acquire().await.expect("a connection"))
            .await
            .expect("begins");
        sqlx::query(PURGE_POSTGRES.text())
            .bind(now())
            .bind(i64::from(BATCH))
            .bind(0.0)
            .execute(other.connection())
            .await
            .expect("removed");
        sqlx::query("SELECT pg_advisory_xact_lock(7163428501)")
            .execute(other.connection())
            .await
            .expect("locked");
        let records = Records::new(test.database.clone());
        let purged = records.purge(now(), NO_MARGIN, BATCH).await;
        assert_eq!(purged.expect("purged"), u64::from(BATCH));
        other.commit().await.expect("committed");
        let left = test
            .sql("SELECT CAST(count(*) AS TEXT) FROM idempotency_records")
            .await;
        assert_eq!(left, [(EXPIRED + 10 - 2 * u64::from(BATCH)).to_string()]);
    }

    #[rstest]
    #[tokio::test]
    async fn a_record_is_kept_for_a_margin_after_it_expires(
        #[values(Sqlite, Postgres)] backend: Backend,
    ) {
        let test = TestDatabase::new(backend).await;
        fill(&test).await;
        let records = Records::new(test.database.clone());
        let margin = Duration::from_hours(20_001 * 24);
        let purged = records.purge(now(), margin, BATCH).await;
        assert_eq!(purged.expect("asked"), 0);
    }

    #[tokio::test]
    async fn an_instance_whose_clock_is_fast_removes_no_live_record() {
        let test = TestDatabase::new(Postgres).await;
        fill(&test).await;
        let records = Records::new(test.database.clone());
        let far = DateTime::UNIX_EPOCH + TimeDelta::days(100_000);
        while records.purge(far, NO_MARGIN, 50_000).await.expect("purged") > 0 {}
        let left = test
            .sql("SELECT CAST(count(*) AS TEXT) FROM idempotency_records")
            .await;
        assert_eq!(left, ["10"]);
    }

    #[rstest]
    #[tokio::test]
    async fn an_exhausted_key_is_not_written_to(#[values(Sqlite, Postgres)] backend: Backend) {
        let test = TestDatabase::new(backend).await;
        fill(&test).await;
        let records = Records::new(test.database.clone());
        let key = KeyFingerprint(*b"00000000000000000000000000100001");
        let identities = [Identity {
            key,
            request: RequestFingerprint([0; 32]),
        }];
        for count in [1, 2, 3, 4, 4, 4] {
            let counted = records.count_mismatch(&identities, 3).await;
            assert_eq!(counted.expect("counted"), count);
        }
        let most = test
            .sql("SELECT CAST(max(mismatches) AS TEXT) FROM idempotency_records")
            .await;
        assert_eq!(most, ["4"]);
    }
}
