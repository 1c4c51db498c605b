//! A unit of work that runs once per key.

use chrono::{DateTime, Utc};

use super::Outcome;
use super::fingerprint::Claim;
use super::record::{self, Stored};
use crate::platform::database::{End, Error, Transaction, UnitOfWork};

/// Claims a key, does the work, and records its outcome: all of it commits, or nothing does. The
/// claim comes first, as the order of locks requires.
pub struct Keyed<W> {
    /// The claim on the key.
    pub claim: Claim,
    /// The time of the claim.
    pub now: DateTime<Utc>,
    /// The id of the request, for a response that repeats it.
    pub request_id: String,
    /// The work.
    pub work: W,
}

impl<W: UnitOfWork> UnitOfWork for Keyed<W>
where
    W::Outcome: Outcome,
{
    /// The outcome, and its stored form; `None` if the key has an outcome already: then nothing is
    /// written.
    type Outcome = Option<(W::Outcome, Stored)>;

    const IS_PAID: bool = W::IS_PAID;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Self::Outcome>, Error> {
        if !record::claim(transaction, &self.claim, self.now).await? {
            return Ok(End::Rollback(None));
        }
        transaction.savepoint().await?;
        let outcome = match self.work.run(transaction).await? {
            End::Commit(outcome) => outcome,
            End::Rollback(outcome) => {
                // Its outcome is recorded all the same: it is the outcome of the key.
                transaction.rollback_to_savepoint().await?;
                outcome
            }
        };
        let stored = Stored::new(&outcome, self.request_id.clone())?;
        if !outcome.is_final() {
            return Ok(End::Rollback(Some((outcome, stored))));
        }
        record::complete(transaction, &self.claim, &stored, outcome.subject()).await?;
        Ok(End::Commit(Some((outcome, stored))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::config::Backend::{self, Postgres, Sqlite};
    use crate::domain::StoreError;
    use crate::idempotency::record::Records;
    use crate::idempotency::{Identity, KeyFingerprint, RequestFingerprint};
    use crate::platform::database::testing::TestDatabase;
    use crate::platform::database::{Database, Micros, Statement};

    static WRITE: Statement = Statement::new(
        "INSERT INTO users_read (id, name, email, email_canonical, display_name, created_at) \
         VALUES ($1, $2, $2, $2, $2, $3)",
    );

    /// Writes a row, and produces an outcome with or without it.
    #[derive(Clone, Copy)]
    struct Work {
        number: u128,
        keeps: bool,
    }

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Number(u128);

    impl Outcome for Number {
        const VERSION: i16 = 2;
    }

    impl UnitOfWork for Work {
        type Outcome = Number;

        async fn run(&self, transaction: &mut Transaction) -> Result<End<Number>, Error> {
            let id = uuid::Uuid::from_u128(self.number);
            let row = (id, id.to_string(), Micros(DateTime::UNIX_EPOCH));
            transaction.execute(&WRITE, row).await?;
            let outcome = Number(self.number);
            Ok(if self.keeps {
                End::Commit(outcome)
            } else {
                End::Rollback(outcome)
            })
        }
    }

    fn claim(key: u8) -> Claim {
        let identity = Identity {
            key: KeyFingerprint([key; 32]),
            request: RequestFingerprint([1; 32]),
        };
        Claim {
            current: identity,
            identities: vec![identity],
            life: Duration::from_hours(1),
        }
    }

    async fn write(database: &Database, key: u8, work: Work) -> Option<Number> {
        let keyed = Keyed {
            claim: claim(key),
            now: DateTime::UNIX_EPOCH,
            request_id: format!("request {}", work.number),
            work,
        };
        let written = database.write(keyed).await.expect("written");
        written.map(|(outcome, _)| outcome)
    }

    async fn stored(database: &Database, key: u8) -> Stored {
        let records = Records::new(database.clone());
        let found = records
            .find(&claim(key).identities, DateTime::UNIX_EPOCH)
            .await;
        found.expect("a response").expect("a record").stored
    }

    #[rstest]
    #[tokio::test]
    async fn an_outcome_is_kept_with_the_work_or_without_it(
        #[values(Sqlite, Postgres)] backend: Backend,
    ) {
        let test = TestDatabase::new(backend).await;
        let rows = "SELECT CAST(count(*) AS TEXT) FROM users_read";
        for (keeps, count) in [(false, "0"), (true, "1")] {
            let (key, number) = (u8::from(keeps), u128::from(keeps));
            let first = write(&test.database, key, Work { number, keeps }).await;
            assert_eq!(first, Some(Number(number)));
            let stored = stored(&test.database, key).await;
            assert_eq!(stored.read::<Number>().expect("its own"), Number(number));
            assert_eq!(stored.request_id, format!("request {number}"));
            assert_eq!(test.sql(rows).await, [count]);
            // The key has its outcome: the work is not done again.
            let again = Work {
                number: 9,
                keeps: true,
            };
            assert_eq!(write(&test.database, key, again).await, None);
            assert_eq!(test.sql(rows).await, [count]);
        }
    }

    #[rstest]
    #[tokio::test]
    async fn work_that_fails_leaves_its_key_free(#[values(Sqlite, Postgres)] backend: Backend) {
        let test = TestDatabase::new(backend).await;
        let work = Work {
            number: 1,
            keeps: true,
        };
        write(&test.database, 1, work).await;
        let failing = Keyed {
            claim: claim(2),
            now: DateTime::UNIX_EPOCH,
            request_id: String::new(),
            work,
        };
        let error = test
            .database
            .write(failing)
            .await
            .expect_err("the row is there");
        assert!(matches!(error, StoreError::Broken(_)), "{error:?}");
        let next = Work {
            number: 2,
            keeps: true,
        };
        assert_eq!(write(&test.database, 2, next).await, Some(Number(2)));
    }

    #[test]
    fn an_outcome_of_a_newer_release_is_unavailable_and_garbage_is_broken() {
        let stored = |version, outcome: &str| Stored {
            version,
            outcome: outcome.to_owned(),
            request_id: String::new(),
        };
        let read = |version, outcome| stored(version, outcome).read::<Number>();
        assert_eq!(
            read(1, "7").expect("an older form that still fits"),
            Number(7)
        );
        assert!(matches!(read(3, "7"), Err(StoreError::Unavailable(_))));
        assert!(matches!(read(2, "{"), Err(StoreError::Broken(_))));
    }
}
