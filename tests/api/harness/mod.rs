//! Starts the real binary on a free port, with a database of its own.

mod raw;
mod service;

pub use raw::{Answer, Connection};
pub use service::{Output, Service, run};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A database that the service runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// A database of one test.
pub enum Database {
    Sqlite(TempDir),
    Postgres(throwaway_postgres::Database),
}

impl Database {
    pub fn new(backend: Backend) -> Self {
        match backend {
            Backend::Sqlite => Self::Sqlite(tempfile::tempdir().expect("a folder")),
            Backend::Postgres => Self::Postgres(throwaway_postgres::server().database()),
        }
    }

    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => {
                format!("sqlite://{}", folder.path().join("signup.db").display())
            }
            Self::Postgres(database) => database.url(),
        }
    }

    /// Runs a query past the service. Each row is its values, joined by `|`.
    pub async fn rows(&self, query: &str) -> Vec<String> {
        let query = sqlx::AssertSqlSafe(query.to_owned());
        match self {
            Self::Sqlite(_) => {
                let mut connection = connect_sqlite(&self.url()).await;
                sqlx::query(query)
                    .fetch_all(&mut connection)
                    .await
                    .expect("the query runs")
                    .iter()
                    .map(join_row)
                    .collect()
            }
            Self::Postgres(_) => {
                let mut connection = connect_postgres(&self.url()).await;
                sqlx::raw_sql(query)
                    .fetch_all(&mut connection)
                    .await
                    .expect("the query runs")
                    .iter()
                    .map(join_row)
                    .collect()
            }
        }
    }

    /// Runs a statement past the service.
    pub async fn execute(&self, statement: &str) -> Result<(), sqlx::Error> {
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        match self {
            Self::Sqlite(_) => {
                let mut connection = connect_sqlite(&self.url()).await;
                sqlx::raw_sql(statement).execute(&mut connection).await?;
            }
            Self::Postgres(_) => {
                let mut connection = connect_postgres(&self.url()).await;
                sqlx::raw_sql(statement).execute(&mut connection).await?;
            }
        }
        Ok(())
    }

    /// The number of rows of each table that a signup writes.
    pub async fn counts(&self) -> [i64; 3] {
        let mut counts = [0; 3];
        for (count, table) in counts.iter_mut().zip(["users", "users_read", "user_events"]) {
            let rows = self.rows(&format!("SELECT count(*) FROM {table}")).await;
            *count = rows[0].parse().expect("a number");
        }
        counts
    }
}

async fn connect_sqlite(url: &str) -> sqlx::SqliteConnection {
    use sqlx::Connection;
    sqlx::SqliteConnection::connect(url).await.expect("SQLite opens")
}

async fn connect_postgres(url: &str) -> sqlx::PgConnection {
    use sqlx::Connection;
    sqlx::PgConnection::connect(url).await.expect("PostgreSQL answers")
}

fn join_row<R>(row: &R) -> String
where
    R: sqlx::Row,
    usize: sqlx::ColumnIndex<R>,
    for<'r> i64: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
    for<'r> String: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,
{
    (0..row.len())
        .map(|at| {
            row.try_get::<String, _>(at)
                .or_else(|_| row.try_get::<i64, _>(at).map(|number| number.to_string()))
                .expect("text or a whole number")
        })
        .collect::<Vec<_>>()
        .join("|")
}

/// A body that signs up somebody new.
pub fn somebody(email: &str) -> Value {
    json!({
        "name": "Ada Lovelace",
        "email": email,
        "password": "correct horse battery staple",
    })
}
