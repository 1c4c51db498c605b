//! Units of work: the transactions that the writes of a slice run in.

use std::future::Future;

use sqlx::Executor;

use super::faults;
use super::statement::{Arguments, FromRow, Parameters, Row, Statement};
use super::{Database, Error, PgLease, Pools, SqliteLease, WriteTransaction, wants_retry};
use crate::domain::StoreError;
use crate::platform::faults::point;
use crate::platform::metrics::Retry;
use crate::platform::telemetry::spans::{System, statement, within_fallibly};

/// Attempts of a transaction that the server asks to retry.
pub(super) const MAX_TRIES: u32 = 3;

/// The statements of a write. Either all of them are committed, or none.
///
/// To add one, implement it for a struct that holds the values to write, and pass it to
/// [`Database::write`]. Lock rows in the order of the tables `imports`, `idempotency_records`, `users`,
/// `users_read`, `roles`, `user_roles`, `sessions`, `service_keys`, `revocations`, `user_events`,
/// `auth_log`: transactions that do so cannot deadlock.
pub trait UnitOfWork: Send + Sync + 'static {
    /// The outcome of the write.
    type Outcome: Send + 'static;

    /// Whether its caller has paid for it, as by a password hash. Half of the queue for SQLite's
    /// writer is closed to other work, so that cheap writes do not keep out paid ones.
    const IS_PAID: bool = false;

    /// Runs the statements. It is retried from its start if the database asks for that; so it must
    /// not change anything but the database.
    ///
    /// # Errors
    /// The driver's; nothing is then committed.
    fn run(
        &self,
        transaction: &mut Transaction,
    ) -> impl Future<Output = Result<End<Self::Outcome>, Error>> + Send;
}

/// How a unit of work ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End<T> {
    /// Commits its writes.
    Commit(T),
    /// Rolls back all of them.
    Rollback(T),
}

/// A write transaction on the database in use.
pub struct Transaction {
    on: On,
    #[cfg(feature = "faults")]
    planted: faults::Planted,
}

enum On {
    Postgres(WriteTransaction<PgLease>),
    Sqlite(WriteTransaction<SqliteLease>),
}

impl Transaction {
    fn begun(on: On) -> Self {
        point("BEGIN");
        Self {
            on,
            #[cfg(feature = "faults")]
            planted: faults::Planted::default(),
        }
    }

    /// Runs a statement. Returns the number of rows affected.
    ///
    /// # Errors
    /// The driver's.
    pub async fn execute(
        &mut self,
        of: &'static Statement,
        parameters: impl Parameters,
    ) -> Result<u64, Error> {
        let of = faults::planted(of);
        let arguments = self.arguments(of, parameters)?;
        #[cfg(feature = "faults")]
        if self.planted.withholds(of, &arguments) {
            return Ok(1);
        }
        let changed = self.run(of, arguments).await?;
        #[cfg(feature = "faults")]
        if changed > 0 && faults::splits(of) {
            self.split().await?;
        }
        faults::ran(of);
        Ok(changed)
    }

    /// Locks rows by a statement that only reads, on PostgreSQL. A transaction on SQLite needs no such lock:
    /// it is the only one that writes.
    ///
    /// # Errors
    /// The driver's.
    pub async fn lock(
        &mut self,
        on_postgres: &'static Statement,
        parameters: impl Parameters,
    ) -> Result<(), Error> {
        if matches!(self.on, On::Postgres(_)) {
            self.execute(on_postgres, parameters).await?;
        }
        Ok(())
    }

    /// The statement for the database in use, where one text cannot be for both.
    #[must_use]
    pub const fn pick(
        &self,
        postgres: &'static Statement,
        sqlite: &'static Statement,
    ) -> &'static Statement {
        match self.on {
            On::Postgres(_) => postgres,
            On::Sqlite(_) => sqlite,
        }
    }

    /// Runs a statement that returns at most one row, such as a SELECT, or an UPDATE with RETURNING.
    ///
    /// # Errors
    /// The driver's.
    pub async fn fetch_optional<T: FromRow>(
        &mut self,
        of: &'static Statement,
        parameters: impl Parameters,
    ) -> Result<Option<T>, Error> {
        Ok(self.fetch_all(of, parameters).await?.into_iter().next())
    }

    /// Runs a statement that returns rows. It has a limit.
    ///
    /// # Errors
    /// The driver's.
    pub async fn fetch_all<T: FromRow>(
        &mut self,
        of: &'static Statement,
        parameters: impl Parameters,
    ) -> Result<Vec<T>, Error> {
        let of = faults::planted(of);
        let arguments = self.arguments(of, parameters)?;
        #[cfg(feature = "faults")]
        if self.planted.withholds(of, &arguments) {
            return Ok(Vec::new());
        }
        let rows: Result<Vec<T>, Error> = match (&mut self.on, arguments) {
            (On::Postgres(on), Arguments::Postgres(arguments)) => {
                let rows = of.fetch_on_postgres(on.connection(), arguments).await?;
                let rows = rows.iter().map(|row| T::from_row(Row::Postgres(row)));
                rows.collect()
            }
            (On::Sqlite(on), Arguments::Sqlite(arguments)) => {
                let rows = of.fetch_on_sqlite(on.connection(), arguments).await?;
                let rows = rows.iter().map(|row| T::from_row(Row::Sqlite(row)));
                rows.collect()
            }
            _ => return Err(of_another_database()),
        };
        #[cfg(feature = "faults")]
        if rows.as_ref().is_ok_and(|rows| !rows.is_empty()) && faults::splits(of) {
            self.split().await?;
        }
        faults::ran(of);
        rows
    }

    /// Sets a savepoint.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) async fn savepoint(&mut self) -> Result<(), Error> {
        self.control("SAVEPOINT", "SAVEPOINT keyed_work").await
    }

    /// Rolls back to the savepoint set by [`Transaction::savepoint`].
    ///
    /// # Errors
    /// The driver's.
    pub(crate) async fn rollback_to_savepoint(&mut self) -> Result<(), Error> {
        self.control("ROLLBACK TO SAVEPOINT", "ROLLBACK TO SAVEPOINT keyed_work")
            .await
    }

    async fn control(&mut self, operation: &'static str, text: &'static str) -> Result<(), Error> {
        match &mut self.on {
            On::Postgres(on) => {
                let run = on.connection().execute(text);
                statement(System::Postgres, operation, "", run).await?;
            }
            On::Sqlite(on) => {
                let run = on.connection().execute(text);
                statement(System::Sqlite, operation, "", run).await?;
            }
        }
        Ok(())
    }

    async fn run(&mut self, of: &Statement, arguments: Arguments) -> Result<u64, Error> {
        match (&mut self.on, arguments) {
            (On::Postgres(on), Arguments::Postgres(arguments)) => {
                of.execute_on_postgres(on.connection(), arguments).await
            }
            (On::Sqlite(on), Arguments::Sqlite(arguments)) => {
                of.execute_on_sqlite(on.connection(), arguments).await
            }
            _ => Err(of_another_database()),
        }
    }

    fn arguments(&self, of: &Statement, parameters: impl Parameters) -> Result<Arguments, Error> {
        match self.on {
            On::Postgres(_) => of.for_postgres(parameters).map(Arguments::Postgres),
            On::Sqlite(_) => of.for_sqlite(parameters).map(Arguments::Sqlite),
        }
    }

    async fn complete<W: UnitOfWork>(mut self, work: &W) -> Result<W::Outcome, Error> {
        match work.run(&mut self).await? {
            End::Commit(outcome) => {
                self.commit().await?;
                Ok(outcome)
            }
            End::Rollback(outcome) => {
                match self.on {
                    On::Postgres(on) => on.rollback().await?,
                    On::Sqlite(on) => on.rollback().await?,
                }
                Ok(outcome)
            }
        }
    }

    #[cfg(not(feature = "faults"))]
    async fn commit(self) -> Result<(), Error> {
        self.commit_now().await
    }

    async fn commit_now(self) -> Result<(), Error> {
        match self.on {
            On::Postgres(on) => on.commit().await?,
            On::Sqlite(on) => on.commit().await?,
        }
        point("COMMIT");
        Ok(())
    }
}

/// Planted bugs.
#[cfg(feature = "faults")]
impl Transaction {
    async fn commit(mut self) -> Result<(), Error> {
        if faults::commits_late() {
            tokio::spawn(async move {
                tokio::time::sleep(faults::LATE).await;
                let _ = self.commit_now().await;
            });
            return Ok(());
        }
        let deferred = std::mem::take(&mut self.planted.deferred);
        if !deferred.is_empty() {
            self.split().await?;
            point("COMMIT");
        }
        for (of, arguments) in deferred {
            self.run(of, arguments).await?;
            self.split().await?;
        }
        self.commit_now().await
    }

    /// Commits the writes so far, and continues in another transaction.
    async fn split(&mut self) -> Result<(), Error> {
        match &mut self.on {
            On::Postgres(on) => on.connection().execute("COMMIT; BEGIN").await.map(drop),
            On::Sqlite(on) => on
                .connection()
                .execute("COMMIT; BEGIN IMMEDIATE")
                .await
                .map(drop),
        }
    }
}

fn of_another_database() -> Error {
    Error::Protocol("arguments of another database".to_owned())
}

impl Database {
    /// Runs a unit of work in its own transaction. The caller may then be cancelled: a task
    /// completes the work, within the time limit of a request. It runs on the runtime of the write
    /// connections, and is retried if PostgreSQL aborts the transaction.
    ///
    /// # Errors
    /// When the outcome is not certain: the write may have been committed.
    pub async fn write<W: UnitOfWork>(&self, work: W) -> Result<W::Outcome, StoreError> {
        let database = self.clone();
        self.in_a_task(async move { database.transact(&work).await })
            .await
    }

    /// The work of [`Database::write`], in its task. If it is dropped at any await, it has written
    /// all or nothing.
    pub(crate) async fn transact<W: UnitOfWork>(&self, work: &W) -> Result<W::Outcome, StoreError> {
        match &self.pools {
            Pools::Sqlite { write, .. } => {
                let (_place, pool) = if W::IS_PAID {
                    write.enter()?
                } else {
                    write.enter_unpaid()?
                };
                let attempt = async {
                    let begun = WriteTransaction::begin(pool.acquire().await?).await?;
                    Transaction::begun(On::Sqlite(begun)).complete(work).await
                };
                Ok(within_fallibly("transaction", attempt).await?)
            }
            Pools::Postgres { write: pool, .. } => {
                let mut tries = 1;
                loop {
                    let attempt = async {
                        let begun = WriteTransaction::begin(pool.acquire().await?).await?;
                        Transaction::begun(On::Postgres(begun)).complete(work).await
                    };
                    let result = within_fallibly("transaction", attempt).await;
                    match result.as_ref().err().and_then(wants_retry) {
                        Some(reason) if tries < MAX_TRIES => {
                            if reason == Retry::StalePlan {
                                pool.forget_plans();
                            }
                            pool.retried(reason);
                            tries += 1;
                        }
                        _ => return Ok(result?),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::config::Backend::{self, Postgres, Sqlite};
    use crate::platform::database::Micros;
    use crate::platform::database::testing::TestDatabase;

    static INSERT: Statement = Statement::new(
        "INSERT INTO users_read (id, name, email, email_canonical, display_name, created_at) \
         VALUES ($1, $2, $2, $2, $2, $3)",
    );
    static RENAME: Statement = Statement::new(
        "UPDATE users_read SET display_name = $2 WHERE id = $1 RETURNING name, display_name",
    );
    static NAME: Statement = Statement::new("SELECT display_name FROM users_read WHERE id = $1");

    /// Renames a row, which it inserts first, and reads the name.
    #[derive(Clone, Copy)]
    struct Rename<const IS_PAID: bool>;

    impl<const IS_PAID: bool> UnitOfWork for Rename<IS_PAID> {
        type Outcome = [Option<String>; 3];

        const IS_PAID: bool = IS_PAID;

        async fn run(&self, transaction: &mut Transaction) -> Result<End<Self::Outcome>, Error> {
            let id = uuid::Uuid::from_u128(1);
            let missing = transaction.fetch_optional(&RENAME, (id, "Ada")).await?;
            let missing: Option<(String, String)> = missing;
            let created = Micros(chrono::DateTime::UNIX_EPOCH);
            transaction.execute(&INSERT, (id, "a", created)).await?;
            let renamed = transaction.fetch_optional(&RENAME, (id, "Ada")).await?;
            let renamed: Option<(String, String)> = renamed;
            let read = transaction.fetch_optional(&NAME, (id,)).await?;
            let read: Option<(String,)> = read;
            Ok(End::Rollback([
                missing.map(|(name, _)| name),
                renamed.map(|(name, display)| name + " " + &display),
                read.map(|(display,)| display),
            ]))
        }
    }

    #[rstest]
    #[tokio::test]
    async fn a_unit_of_work_reads_its_own_writes(#[values(Sqlite, Postgres)] backend: Backend) {
        let test = TestDatabase::new(backend).await;
        let read = test.database.write(Rename::<false>).await.expect("written");
        let expected = [None, Some("a Ada"), Some("Ada")];
        assert_eq!(read.each_ref().map(Option::as_deref), expected);
        assert_eq!(test.counts().await, [0, 0, 0], "it was rolled back");
    }

    #[tokio::test]
    async fn unpaid_work_leaves_places_to_paid_work() {
        let test = TestDatabase::new(Sqlite).await;
        let Pools::Sqlite { write, .. } = test.database.pools() else {
            unreachable!("just made");
        };
        let unpaid: Vec<_> = std::iter::from_fn(|| write.enter_unpaid().ok()).collect();
        let refused = test.database.write(Rename::<false>).await;
        assert!(
            matches!(refused, Err(StoreError::Unavailable(_))),
            "{refused:?}"
        );
        assert!(test.database.write(Rename::<true>).await.is_ok());
        drop(unpaid);
        assert!(test.database.write(Rename::<false>).await.is_ok());
    }
}
