//! Test harness: runs the real binary on a free port, with its own database.

pub mod collector;
mod in_process;
pub mod mailing;
mod raw;
mod service;
mod setup;

pub use in_process::InProcess;
pub use mailing::Mailing;
pub use raw::Connection;
pub use service::{Output, Service, run, run_with_input, start_command};
pub use setup::{Instances, Setup};
pub use throwaway_servers::counters;

use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use sqlx::{Connection as _, Row as _};
use tempfile::TempDir;

/// The default secret of every instance.
pub const SECRET: &str = "a secret of thirty-two bytes or more";

/// The settings of every instance that a test does not set otherwise.
const DEFAULTS: [(&str, &str); 4] = [
    // On PostgreSQL the service does not start without it.
    ("AUTH_SECRET", SECRET),
    // Most tests are not about access: see `access`.
    ("READS", "open"),
    // Nor about mail: see `mail`.
    ("EMAIL_VERIFICATION", "off"),
    // Many instances run at a time.
    ("ADMIN_PORT", "0"),
];

/// The kind of database that the service runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

/// A database for one test.
pub enum Database {
    Sqlite(TempDir),
    Postgres(throwaway_servers::postgres::Database),
}

impl Database {
    pub fn new(backend: Backend) -> Self {
        match backend {
            Backend::Sqlite => Self::Sqlite(tempfile::tempdir().expect("a folder")),
            Backend::Postgres => Self::Postgres(throwaway_servers::postgres::server().database()),
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

    /// Runs a query directly on the database. Each row is its values, joined by `|`.
    pub async fn rows(&self, query: &str) -> Vec<String> {
        self.execute(query).await.expect(query)
    }

    /// Like [`rows`](Self::rows), for a statement that may fail.
    pub async fn execute(&self, statement: &str) -> Result<Vec<String>, sqlx::Error> {
        match self {
            Self::Sqlite(_) => execute::<sqlx::Sqlite>(&self.url(), statement).await,
            Self::Postgres(_) => execute::<sqlx::Postgres>(&self.url(), statement).await,
        }
    }

    /// An id as an SQL literal.
    pub fn uuid_literal(&self, id: &str) -> String {
        match self {
            Self::Sqlite(_) => format!("x'{}'", id.replace('-', "")),
            Self::Postgres(_) => format!("'{id}'"),
        }
    }

    /// The number of rows of each table that a signup writes.
    pub async fn counts(&self) -> [i64; 3] {
        // One statement, for a consistent snapshot.
        let rows = self
            .rows(
                "SELECT count(*) FROM users UNION ALL SELECT count(*) FROM users_read \
                 UNION ALL SELECT count(*) FROM user_events",
            )
            .await;
        [0, 1, 2].map(|table: usize| rows[table].parse().expect("a number"))
    }
}

async fn execute<DB>(url: &str, statement: &str) -> Result<Vec<String>, sqlx::Error>
where
    DB: sqlx::Database,
    for<'c> &'c mut DB::Connection: sqlx::Executor<'c, Database = DB>,
    usize: sqlx::ColumnIndex<DB::Row>,
    for<'r> i64: sqlx::Decode<'r, DB> + sqlx::Type<DB>,
    for<'r> String: sqlx::Decode<'r, DB> + sqlx::Type<DB>,
{
    let mut connection = DB::Connection::connect(url).await?;
    let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
        .fetch_all(&mut connection)
        .await?;
    Ok(rows.iter().map(join::<DB>).collect())
}

fn join<DB>(row: &DB::Row) -> String
where
    DB: sqlx::Database,
    usize: sqlx::ColumnIndex<DB::Row>,
    for<'r> i64: sqlx::Decode<'r, DB> + sqlx::Type<DB>,
    for<'r> String: sqlx::Decode<'r, DB> + sqlx::Type<DB>,
{
    let value = |at| {
        row.try_get::<String, _>(at)
            .or_else(|_| row.try_get::<i64, _>(at).map(|number| number.to_string()))
            .expect("text or a whole number")
    };
    (0..row.len()).map(value).collect::<Vec<_>>().join("|")
}

/// Asserts that a response is a problem of this kind, with ids, and returns its body.
pub async fn problem(response: Response, status: u16, slug: &str) -> Value {
    let (found, headers) = (response.status(), response.headers().clone());
    let body: Value = response.json().await.expect("JSON");
    assert_eq!(found, status, "{body}");
    assert_eq!(headers[CONTENT_TYPE], "application/problem+json");
    assert_eq!(body["type"], format!("/problems/{slug}"));
    assert_eq!(body["status"], status);
    assert!(body["title"].is_string() && body["detail"].is_string());
    assert_eq!(
        body["request_id"],
        headers["x-request-id"].to_str().expect("ASCII")
    );
    assert!(headers.contains_key("x-correlation-id"));
    if status == 401 {
        // RFC 6750, section 3.1: it has an error only if there was a credential.
        let challenge = headers["www-authenticate"].to_str().expect("ASCII");
        assert!(challenge.starts_with("Bearer "), "{challenge}");
        let has_error = challenge.contains("error=");
        let came_none = slug == "authentication-required";
        assert!(!(has_error && came_none), "{challenge}");
    }
    body
}

/// The credentials of a signup with this address.
pub fn login_body(email: &str) -> Value {
    json!({ "email": email, "password": "correct horse battery staple" })
}

/// The body of a signup with this address.
pub fn signup_body(email: &str) -> Value {
    json!({
        "name": "Ada Lovelace",
        "email": email,
        "password": "correct horse battery staple",
    })
}
