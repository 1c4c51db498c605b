//! A fresh, migrated database for a test, on either backend, with direct access by SQL.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, ColumnIndex, Connection, Decode, Executor, PgConnection, Row, Type};

use super::{Database, migrate};
use crate::config::{Backend, Settings, Sources};
use crate::platform::metrics::Metrics;
use crate::platform::tasks::Tasks;

/// The database of one test, removed when dropped.
pub struct TestDatabase {
    /// The database, opened as by the service.
    pub database: Database,
    /// The backend.
    pub backend: Backend,
    url: String,
    /// Removes the database when dropped.
    _place: Box<dyn Any + Send + Sync>,
}

/// A lock on all writes, held by another connection until [`HeldWrites::release`].
pub enum HeldWrites {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// When a future that is not polled to completion is dropped.
#[derive(Debug, Clone, Copy)]
pub enum Dropped {
    /// As soon as it waits: its request may not have been sent yet.
    Waiting,
    /// Once it could continue: its request has been carried out.
    Woken,
}

impl TestDatabase {
    pub async fn new(backend: Backend) -> Self {
        Self::with(backend, &[]).await
    }

    /// The same, with these settings, by the names of their environment variables.
    pub async fn with(backend: Backend, settings: &[(&str, &str)]) -> Self {
        let (url, place): (_, Box<dyn Any + Send + Sync>) = match backend {
            Backend::Sqlite => {
                let folder = tempfile::tempdir().expect("a folder");
                let file = folder.path().join("test.db");
                (format!("sqlite://{}", file.display()), Box::new(folder))
            }
            Backend::Postgres => {
                let database = throwaway_servers::postgres::server().database();
                (database.url(), Box::new(database))
            }
        };
        let mut all = vec![("DATABASE_URL", url.as_str())];
        all.extend(settings);
        let sources = Sources::given(&all, "").expect("no file");
        let settings = Settings::from_sources(sources, false).expect("valid settings");
        migrate::up(&settings.database.url, &mut |_| {})
            .await
            .expect("migrates");
        let metrics = Metrics::new().expect("names that differ");
        let tasks = Tasks::new(tokio::runtime::Handle::current());
        let database = Database::connect(&settings, &metrics, tasks);
        let database = database.await.expect("opens");
        Self {
            database,
            backend,
            url,
            _place: place,
        }
    }

    /// Drops tables, with what depends on them.
    pub async fn drop_tables(&self, names: &[&str]) {
        // SQLite checks no reference to a table that is gone.
        let cascade = match self.backend {
            Backend::Sqlite => "",
            Backend::Postgres => " CASCADE",
        };
        for name in names {
            self.sql(&format!("DROP TABLE {name}{cascade}")).await;
        }
    }

    /// Runs statements directly, on a separate connection. Returns the last column of each row,
    /// which is text.
    pub async fn sql(&self, statements: &str) -> Vec<String> {
        match self.backend {
            Backend::Sqlite => sql::<sqlx::Sqlite>(&self.url, statements).await,
            Backend::Postgres => sql::<sqlx::Postgres>(&self.url, statements).await,
        }
    }

    /// The number of rows of each table that a signup writes, all in one snapshot.
    pub async fn counts(&self) -> [u32; 3] {
        let texts = self
            .sql(
                "SELECT CAST(count(*) AS TEXT) FROM users \
                 UNION ALL SELECT CAST(count(*) AS TEXT) FROM users_read \
                 UNION ALL SELECT CAST(count(*) AS TEXT) FROM user_events",
            )
            .await;
        let counts: Vec<u32> = texts
            .iter()
            .map(|text| text.parse().expect("a number"))
            .collect();
        counts.try_into().expect("three tables")
    }

    /// An SQL expression for a UUID's 32 hexadecimal digits.
    pub fn hex(&self, column: &str) -> String {
        match self.backend {
            Backend::Sqlite => format!("lower(hex({column}))"),
            Backend::Postgres => format!("replace({column}::text, '-', '')"),
        }
    }

    /// An SQL expression for a time's microseconds since 1970.
    pub fn micros(&self, column: &str) -> String {
        match self.backend {
            Backend::Sqlite => format!("CAST({column} AS TEXT)"),
            Backend::Postgres => {
                format!("(extract(epoch FROM {column}) * 1000000)::bigint::text")
            }
        }
    }

    /// Blocks every statement that asks for this advisory lock of PostgreSQL.
    pub async fn hold_advisory_lock(&self, number: i64) -> HeldLock {
        let mut other = PgConnection::connect(&self.url).await.expect("connects");
        let lock = sqlx::query("SELECT pg_advisory_lock($1)").bind(number);
        lock.execute(&mut other).await.expect("locks");
        HeldLock(other)
    }

    /// Blocks every write.
    pub async fn hold_writes(&self) -> HeldWrites {
        match self.backend {
            Backend::Sqlite => {
                let mut other = SqliteConnection::connect(&self.url).await.expect("opens");
                other.execute("BEGIN IMMEDIATE").await.expect("locks");
                HeldWrites::Sqlite(other)
            }
            Backend::Postgres => {
                let mut other = PgConnection::connect(&self.url).await.expect("connects");
                other.execute("BEGIN").await.expect("begins");
                other.execute("LOCK TABLE users").await.expect("locks");
                HeldWrites::Postgres(other)
            }
        }
    }
}

/// An advisory lock on PostgreSQL, held until [`HeldLock::release`].
pub struct HeldLock(PgConnection);

impl HeldLock {
    pub async fn release(self) {
        self.0.close().await.expect("closes");
    }
}

impl HeldWrites {
    pub async fn release(self) {
        match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres(connection) => connection.close().await,
        }
        .expect("closes");
    }
}

async fn sql<DB>(url: &str, statements: &str) -> Vec<String>
where
    DB: sqlx::Database,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    usize: ColumnIndex<DB::Row>,
    for<'r> String: Decode<'r, DB> + Type<DB>,
{
    let mut connection = DB::Connection::connect(url).await.expect("connects");
    let rows = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
        .fetch_all(&mut connection)
        .await
        .unwrap_or_else(|error| panic!("{statements}: {error}"));
    connection.close().await.expect("closes");
    rows.iter().map(|row| row.get(row.len() - 1)).collect()
}

/// Polls a future at most this often, only when it is woken, and then drops it.
pub async fn poll_at_most<F: Future>(
    polls: usize,
    dropped: Dropped,
    future: F,
) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match (future.as_mut().poll(context), dropped) {
            (Poll::Ready(output), _) => Poll::Ready(Some(output)),
            (Poll::Pending, Dropped::Waiting) if left == 0 => Poll::Ready(None),
            (Poll::Pending, _) => Poll::Pending,
        }
    })
    .await
}
