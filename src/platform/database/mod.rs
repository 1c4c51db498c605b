//! The database: statements that PostgreSQL and SQLite both accept, units of work, and connection
//! pools.

mod faults;
mod gatherer;
pub mod migrate;
mod pg_pool;
mod point_reads;
mod postgres;
mod queries;
mod sqlite;
mod sqlite_pool;
mod statement;
#[cfg(test)]
pub(crate) mod testing;
mod transaction;
mod unit_of_work;

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Histogram;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::{Backend, DatabaseUrl, Settings};
use crate::domain::StoreError;
use crate::platform::errors::error_chain;
use crate::platform::limits::{Bound, Limit};
use crate::platform::metrics::{DatabasePool, Metrics, Retry};
use crate::platform::tasks::Tasks;
use crate::platform::telemetry::spans::Kind;

pub use pg_pool::{PgLease, PgPool};
pub use point_reads::{PointKey, PointRead, Texts};
pub use postgres::{PgReads, describe as describe_postgres, options as postgres_options};
pub use sqlite::options as sqlite_options;
pub use sqlite_pool::{SqliteLease, SqlitePool};
pub use sqlx::Error;
pub use sqlx::types::Json;
pub use statement::{Column, FromRow, Micros, Parameters, Row, Rows, Statement};
pub use transaction::WriteTransaction;
pub use unit_of_work::{End, Transaction, UnitOfWork};

/// Whether a row is there already: another transaction has added it since it was looked for.
#[must_use]
pub fn is_unique_violation(error: &Error) -> bool {
    let error = error.as_database_error();
    error.is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// How long opening a connection may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a statement waits for a pooled connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// Commands that may wait for SQLite's single writer.
const SQLITE_WRITERS_WAITING: usize = 64;

/// The part of these for work that cost its caller nothing. The other places are for work that was
/// paid for, as by a password hash.
const SQLITE_UNPAID_WAITING: usize = 32;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    Limit {
        what: "Opening a connection",
        bound: Bound::Time(CONNECT_TIMEOUT),
        effect: "503 `unavailable`",
    },
    Limit {
        what: "Wait for a pooled connection",
        bound: Bound::Time(ACQUIRE_TIMEOUT),
        effect: "503 `unavailable`; at most half of `REQUEST_TIMEOUT_MS`",
    },
    Limit {
        what: "Connections of a pool",
        bound: Bound::Setting("DATABASE_MAX_CONNECTIONS"),
        effect: "further statements wait",
    },
    Limit {
        what: "Reads by one key that share a statement",
        bound: Bound::Count(point_reads::MAX_TOGETHER),
        effect: "further reads wait for the next one",
    },
    Limit {
        what: "Wait for a statement of other reads",
        bound: Bound::Time(point_reads::OVERDUE),
        effect: "the next statement begins beside it",
    },
    Limit {
        what: "Statements of one query that take longer, on a thread",
        bound: Bound::Count(gatherer::MAX_OVERDUE),
        effect: "reads wait for the next one after all",
    },
    Limit {
        what: "Reads by one key that wait on a thread",
        bound: Bound::Count(point_reads::MAX_WAITING),
        effect: "503 `unavailable`",
    },
    Limit {
        what: "Writes that wait for the writer of SQLite",
        bound: Bound::Count(SQLITE_WRITERS_WAITING),
        effect: "503 `unavailable`",
    },
    Limit {
        what: "Of these, writes without a hash",
        bound: Bound::Count(SQLITE_UNPAID_WAITING),
        effect: "503 `unavailable`",
    },
    Limit {
        what: "Wait for a lock, or for SQLite's writer",
        bound: Bound::Words("1/2 of `REQUEST_TIMEOUT_MS`"),
        effect: "503 `unavailable`",
    },
    Limit {
        what: "One statement on PostgreSQL",
        bound: Bound::Words("8/10 of `REQUEST_TIMEOUT_MS`"),
        effect: "503 `unavailable`",
    },
    Limit {
        what: "Idle transaction on PostgreSQL",
        bound: Bound::Setting("REQUEST_TIMEOUT_MS"),
        effect: "PostgreSQL rolls it back",
    },
    Limit {
        what: "Whole write, from the end of the hash",
        bound: Bound::Setting("REQUEST_TIMEOUT_MS"),
        effect: "503 `unavailable`",
    },
    Limit {
        what: "Tries of a transaction that PostgreSQL aborts",
        bound: Bound::Count(unit_of_work::MAX_TRIES as usize),
        effect: "503 `unavailable`",
    },
];

/// The database selected by `DATABASE_URL`.
///
/// A slice's store reads by [`Database::fetch_by_key`] and [`Database::fetch_page`], and writes a
/// [`UnitOfWork`] by [`Database::write`].
#[derive(Clone)]
pub struct Database {
    pools: Pools,
    tasks: Tasks,
    /// The time limit of a request: also of its work for which no caller waits any more.
    time_limit: Duration,
    /// Distinguishes the databases of a process.
    identity: Arc<()>,
    /// The number of reads that share each statement.
    reads_together: Histogram,
}

/// The connections to the database.
#[derive(Clone)]
pub enum Pools {
    /// The production database.
    Postgres {
        /// For commands. Its connections live on the runtime that outlives the HTTP server.
        write: PgPool,
        /// For queries; on the replica if there is one.
        read: PgReads,
    },
    /// The embedded database.
    Sqlite {
        /// For commands.
        write: SqliteWriter,
        /// For queries; read-only.
        read: SqlitePool,
    },
}

/// SQLite's single writer, with a bounded queue.
#[derive(Clone)]
pub struct SqliteWriter {
    pool: SqlitePool,
    waiting: Arc<Semaphore>,
    unpaid: Arc<Semaphore>,
    files: Arc<sqlite::Files>,
}

/// A place in the queue for SQLite's writer.
pub struct Place<'a> {
    _place: SemaphorePermit<'a>,
    _unpaid: Option<SemaphorePermit<'a>>,
}

impl SqliteWriter {
    fn new(pool: SqlitePool, files: sqlite::Files) -> Self {
        Self {
            pool,
            waiting: Arc::new(Semaphore::new(SQLITE_WRITERS_WAITING)),
            unpaid: Arc::new(Semaphore::new(SQLITE_UNPAID_WAITING)),
            files: Arc::new(files),
        }
    }

    /// Takes a place in the queue. Keep it for as long as the pool is used.
    ///
    /// # Errors
    /// When the queue is full.
    pub fn enter(&self) -> Result<(Place<'_>, &SqlitePool), StoreError> {
        let place = self.waiting.try_acquire().map_err(|_| queue_is_full())?;
        let place = Place {
            _place: place,
            _unpaid: None,
        };
        Ok((place, &self.pool))
    }

    /// The same for work that cost its caller nothing: half of the queue is closed to it.
    ///
    /// # Errors
    /// When its half of the queue is full.
    pub fn enter_unpaid(&self) -> Result<(Place<'_>, &SqlitePool), StoreError> {
        let unpaid = self.unpaid.try_acquire().map_err(|_| queue_is_full())?;
        let place = self.waiting.try_acquire().map_err(|_| queue_is_full())?;
        let place = Place {
            _place: place,
            _unpaid: Some(unpaid),
        };
        Ok((place, &self.pool))
    }
}

fn queue_is_full() -> StoreError {
    StoreError::unavailable("the queue for SQLite's writer is full")
}

/// The database cannot be used. The text is for the terminal and has no secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConnectError(pub String);

impl Database {
    /// Opens the pools and checks that the server is suitable. Writes run as `tasks`.
    ///
    /// # Errors
    /// When the database does not respond, or its configuration is unsafe.
    pub async fn connect(
        settings: &Settings,
        metrics: &Metrics,
        tasks: Tasks,
    ) -> Result<Self, ConnectError> {
        let pools = match settings.database.url.backend {
            Backend::Postgres => postgres::connect(settings, metrics).await?,
            Backend::Sqlite => sqlite::connect(settings, metrics).await?,
        };
        Ok(Self {
            pools,
            tasks,
            time_limit: settings.http.request_timeout,
            identity: Arc::new(()),
            reads_together: metrics.reads_together(),
        })
    }

    /// The connection pools.
    #[must_use]
    pub const fn pools(&self) -> &Pools {
        &self.pools
    }

    /// Records the number of connections.
    pub fn measure(&self, metrics: &Metrics) {
        let (write, read) = match &self.pools {
            Pools::Postgres { write, read } => (write.size(), read.size(write)),
            Pools::Sqlite { write, read } => (write.pool.size(), read.size()),
        };
        metrics.pool_size(DatabasePool::Write, write);
        metrics.pool_size(DatabasePool::Read, read);
    }

    /// Closes the pools: waits for the connections in use, then closes all of them.
    pub async fn close(&self) {
        match &self.pools {
            Pools::Postgres { write, read } => {
                tokio::join!(write.close(), read.close());
            }
            Pools::Sqlite { write, read } => {
                read.close().await;
                write.pool.close().await;
                write.files.close().await;
            }
        }
    }

    /// Checks that the database responds to these queries, which have no parameters.
    ///
    /// # Errors
    /// The reason, without secrets.
    pub async fn check_readable(&self, queries: &[&'static Statement]) -> Result<(), String> {
        for query in queries {
            let read: Result<Vec<()>, _> = self.fetch(query, (), Rows::Few).await;
            read.map(drop).map_err(|error| {
                tracing::warn!(reason = describe_error(&error), "queries check failed");
                "no response to queries".to_owned()
            })?;
        }
        Ok(())
    }

    /// Checks that the database responds and would accept a signup.
    ///
    /// # Errors
    /// The reason, without secrets.
    pub async fn check_writable(&self) -> Result<(), String> {
        match &self.pools {
            Pools::Postgres { write, .. } => postgres::check_writable(write).await,
            Pools::Sqlite { write, .. } => sqlite::check_writable(write).await,
        }
    }
}

/// One line that locates the database, without user or password.
#[must_use]
pub fn describe(url: &DatabaseUrl) -> String {
    match url.backend {
        Backend::Postgres => postgres::options(url).map_or_else(
            |_| "PostgreSQL".to_owned(),
            |options| describe_postgres(&options),
        ),
        Backend::Sqlite => sqlite::options(url).map_or_else(
            |_| "SQLite".to_owned(),
            |options| format!("SQLite at {}", options.get_filename().display()),
        ),
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let temporary = match &error {
            sqlx::Error::Database(error) => error.code().is_none_or(|code| is_temporary(&code)),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => true,
            _ => false,
        };
        let reason = describe_error(&error);
        if temporary {
            Self::unavailable(reason)
        } else {
            Self::broken(reason)
        }
    }
}

/// Describes an error for the log. Of a database's error only the code and the names: its text may
/// contain values such as an address.
#[must_use]
pub fn describe_error(error: &sqlx::Error) -> String {
    let sqlx::Error::Database(database) = error else {
        return error_chain(error);
    };
    let mut words = format!("the database reported {}", error.kind());
    for (what, name) in [
        ("constraint", database.constraint()),
        ("table", database.table()),
    ] {
        if let Some(name) = name {
            let _ = write!(words, ", {what} {name}");
        }
    }
    words
}

impl Kind for sqlx::Error {
    /// The database's error code, or the driver's kind of error.
    fn kind(&self) -> String {
        match self {
            Self::Database(error) => error
                .code()
                .map_or_else(|| "database".to_owned(), std::borrow::Cow::into_owned),
            Self::PoolTimedOut => "pool_timed_out".to_owned(),
            Self::PoolClosed => "pool_closed".to_owned(),
            Self::Io(_) => "io".to_owned(),
            Self::Tls(_) => "tls".to_owned(),
            Self::Protocol(_) => "protocol".to_owned(),
            _ => "driver".to_owned(),
        }
    }
}

impl Kind for StoreError {
    fn kind(&self) -> String {
        match self {
            Self::Unavailable(_) => "unavailable".to_owned(),
            Self::Broken(_) => "broken".to_owned(),
        }
    }
}

/// Whether a database's error code reports its state, not a fault of the statement.
///
/// PostgreSQL (appendix A of its manual): 08 connection, 25006 read-only, 25P03 and 25P04 a
/// transaction that took too long, 28 and 3D the role or the database is not (or no longer)
/// accessible, 40 rolled back, 53 resources, 55000, 55006 and 55P03 not available now, 57 operator
/// intervention, 58 the system. So are the codes of a statement that is still invalid after it was
/// prepared again.
/// SQLite's primary codes (sqlite.org/rescode.html): 5 busy, 6 locked, 7 no memory, 8 read-only,
/// 9 interrupted, 10 I/O, 13 full, 14 can't open, 15 locking protocol, 17 schema changed.
fn is_temporary(code: &str) -> bool {
    if code.len() == 5 {
        return ["08", "28", "3D", "40", "53", "57", "58"]
            .iter()
            .any(|class| code.starts_with(class))
            || [
                "0A000", "25006", "25P03", "25P04", "26000", "42P05", "55000", "55006", "55P03",
            ]
            .contains(&code);
    }
    code.parse::<u32>()
        .is_ok_and(|code| matches!(code & 0xff, 5..=10 | 13..=15 | 17))
}

/// Why a transaction on PostgreSQL is worth a retry (appendix A of its manual).
#[must_use]
pub fn wants_retry(error: &sqlx::Error) -> Option<Retry> {
    match error.as_database_error()?.code()?.as_ref() {
        "40001" => Some(Retry::Serialization),
        "40P01" => Some(Retry::Deadlock),
        _ if is_stale_plan(error) => Some(Retry::StalePlan),
        _ => None,
    }
}

/// Whether PostgreSQL reports that a prepared statement of this connection is invalid: the result
/// has another type (0A000), the statement does not exist (26000) or exists twice (42P05), or an
/// object of its plan does not exist any more (XX000).
fn is_stale_plan(error: &sqlx::Error) -> bool {
    let Some(error) = error.as_database_error() else {
        return false;
    };
    // Some of the codes have other meanings, too, and their texts are in the server's language. An
    // error wrongly taken for a stale plan only costs one retry.
    let code = error.code().unwrap_or_default();
    ["0A000", "26000", "42P05", "XX000"].contains(&code.as_ref())
}

/// Whether PostgreSQL has no free connection: at all, for the role, or for the database.
fn is_out_of_connections(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.code().is_some_and(|code| code == "53300"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_state_differ_from_codes_of_statements() {
        for code in [
            "08006", "25006", "25P03", "26000", "28000", "28P01", "3D000", "40001", "40P01",
            "53100", "53300", "55000", "55P03", "57P01", "58030",
        ] {
            assert!(is_temporary(code), "{code}");
        }
        for code in [
            "5", "262", "517", "7", "8", "1032", "10", "13", "14", "15", "17",
        ] {
            assert!(is_temporary(code), "{code}");
        }
        for code in ["23505", "42P01", "22001", "XX001", "1", "11", "19", "2067"] {
            assert!(!is_temporary(code), "{code}");
        }
    }

    #[tokio::test]
    async fn half_of_the_queue_is_reserved_for_paid_work() {
        let test = testing::TestDatabase::new(Backend::Sqlite).await;
        let Pools::Sqlite { write, .. } = test.database.pools() else {
            unreachable!("just made");
        };
        let unpaid: Vec<_> = std::iter::from_fn(|| write.enter_unpaid().ok()).collect();
        assert_eq!(unpaid.len(), SQLITE_UNPAID_WAITING);
        let paid: Vec<_> = std::iter::from_fn(|| write.enter().ok()).collect();
        assert_eq!(paid.len(), SQLITE_WRITERS_WAITING - SQLITE_UNPAID_WAITING);
        drop(unpaid);
        let more: Vec<_> = std::iter::from_fn(|| write.enter().ok()).collect();
        assert_eq!(more.len(), SQLITE_UNPAID_WAITING, "all of it, if needed");
    }
}
