//! The records of idempotency keys.
//!
//! A slice's store claims a key within its own transaction, by the functions of its backend here;
//! so the record commits with what the command writes. Everything else about records is asked of
//! [`Records`].

pub mod postgres;
pub mod sqlite;

use chrono::{DateTime, Utc};

use super::Database;
use crate::domain::{Answer, Fingerprint, Identity, KeyHash, Record, StoreError};

/// A row of a record: fingerprint, status, location, content type, body, mismatches.
type Found = (Vec<u8>, i64, Option<String>, String, Vec<u8>, i64);

fn record(key: KeyHash, found: Found) -> Result<Record, sqlx::Error> {
    let (fingerprint, status, location, content_type, body, mismatches) = found;
    let fingerprint = fingerprint
        .try_into()
        .map_err(|_| sqlx::Error::Decode("a fingerprint has 32 bytes".into()))?;
    let answer = Answer {
        status: u16::try_from(status).map_err(|error| sqlx::Error::Decode(error.into()))?,
        location,
        content_type,
        body,
    };
    Ok(Record {
        key,
        fingerprint: Fingerprint(fingerprint),
        answer,
        mismatches: u32::try_from(mismatches).unwrap_or(u32::MAX),
    })
}

/// A claim that was made under two secrets has two records. They differ in the mismatches that an
/// instance with one secret has counted: the most of them counts.
fn merge(first: &mut Option<Record>, found: Record) {
    match first {
        None => *first = Some(found),
        Some(first) => first.mismatches = first.mismatches.max(found.mismatches),
    }
}

/// A claim was lost to a record that was gone when it was looked for: it expired in between.
/// Whoever asks again is right.
#[must_use]
pub fn expired_meanwhile() -> sqlx::Error {
    sqlx::Error::Protocol("the record of the key expired meanwhile".to_owned())
}

/// Looks up and removes records. It asks where the commands write: a replica may lag.
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
    /// When the store can't tell.
    pub async fn find(
        &self,
        identities: &[Identity],
        now: DateTime<Utc>,
    ) -> Result<Option<Record>, StoreError> {
        match &self.database {
            Database::Postgres { write, .. } => {
                Ok(postgres::find(&mut *write.acquire().await?, identities, now).await?)
            }
            Database::Sqlite { read, .. } => {
                Ok(sqlite::find(&mut *read.acquire().await?, identities, now).await?)
            }
        }
    }

    /// Notes that a key came with another request, and says how often that was.
    ///
    /// # Errors
    /// When the store can't tell.
    pub async fn count_mismatch(&self, identities: &[Identity]) -> Result<u32, StoreError> {
        let mut most = 0;
        for Identity { key, .. } in identities {
            let count = match &self.database {
                Database::Postgres { write, .. } => postgres::count_mismatch(write, *key).await?,
                Database::Sqlite { write, .. } => {
                    let (_place, pool) = write.enter()?;
                    sqlite::count_mismatch(pool, *key).await?
                }
            };
            most = most.max(count);
        }
        Ok(u32::try_from(most).unwrap_or(u32::MAX))
    }

    /// Removes up to so many records that have expired, and says how many; nothing where another
    /// instance is at it.
    ///
    /// # Errors
    /// When the store can't tell.
    pub async fn purge(&self, now: DateTime<Utc>, most: u32) -> Result<Option<u64>, StoreError> {
        match &self.database {
            Database::Postgres { write, .. } => Ok(postgres::purge(write, now, most).await?),
            Database::Sqlite { write, .. } => {
                let (_place, pool) = write.enter()?;
                Ok(sqlite::purge(pool, now, most).await?)
            }
        }
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

    /// Puts in expired records, and ten that are not.
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
             (key_hash, fingerprint, status, content_type, body, created_at, expires_at) \
             {numbers} SELECT {key}, {key}, 201, 'application/json', {key}, {time}, {time} FROM n"
        ))
        .await;
    }

    #[rstest]
    #[tokio::test]
    async fn a_hundred_thousand_expired_records_go_in_small_batches(
        #[values(Sqlite, Postgres)] backend: Backend,
    ) {
        let test = TestDatabase::new(backend).await;
        fill(&test).await;
        let records = Records::new(test.database.clone());
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        let mut purged = 0;
        loop {
            let batch = records.purge(now, BATCH).await.expect("purged");
            let batch = batch.expect("nobody else is at it");
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
    async fn one_instance_purges_at_a_time() {
        let test = TestDatabase::new(Postgres).await;
        fill(&test).await;
        let Database::Postgres { write, .. } = &test.database else {
            unreachable!("just made");
        };
        let mut other = WriteTransaction::begin(write.acquire().await.expect("a connection"))
            .await
            .expect("begins");
        let lock = sqlx::query(postgres::TRY_PURGE_LOCK);
        lock.execute(other.connection()).await.expect("locked");
        let records = Records::new(test.database.clone());
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        assert_eq!(records.purge(now, BATCH).await.expect("asked"), None);
        other.rollback().await.expect("unlocked");
        let purged = records.purge(now, BATCH).await.expect("purged");
        assert_eq!(purged, Some(u64::from(BATCH)));
    }
}
