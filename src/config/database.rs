//! Settings of the database.

use super::reader::Sources;
use super::setting::{Setting, fixed, secret, worded};
use super::urls::{Backend, DatabaseUrl};
use super::values::{boolean, number};

/// The rows of this group.
pub(super) const SETTINGS: &[Setting] = &[
    secret(fixed(
        "DATABASE_URL",
        "database.url",
        "sqlite://data/signup.db",
        "`postgres://…` or `sqlite://…`. The folder of a SQLite file is created. Unknown parameters are \
         refused. PgBouncer must be in session mode.",
    )),
    secret(worded(
        "DATABASE_READ_URL",
        "database.read_url",
        "none",
        "A PostgreSQL replica for queries. It may lag: a user who has just signed up may not be found \
         for a moment.",
    )),
    fixed(
        "DATABASE_MAX_CONNECTIONS",
        "database.max_connections",
        "10",
        "The maximum number of connections per pool. There are two pools, one for commands and one for queries, each shared \
         by all threads. Queries are fastest with two for each of `HTTP_WORKERS`.",
    ),
    worded(
        "DATABASE_MIGRATE",
        "database.migrate",
        "`true` on SQLite, `false` on PostgreSQL",
        "Whether `serve` applies migrations first. Otherwise, `serve` refuses to start on pending \
         migrations.",
    ),
    fixed(
        "DATABASE_ALLOW_ASYNC_COMMIT",
        "database.allow_async_commit",
        "false",
        "Whether a PostgreSQL with `synchronous_commit=off` is accepted. It loses acknowledged \
         signups when it crashes.",
    ),
];

/// Settings of the database.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// The URL of the database.
    pub url: DatabaseUrl,
    /// The URL of a replica for queries.
    pub read_url: Option<DatabaseUrl>,
    /// The maximum number of connections of each of the two pools, for commands and for queries.
    pub max_connections: u32,
    /// Whether `serve` applies migrations first.
    pub migrate: bool,
    /// Whether a PostgreSQL that acknowledges commits before they are on disk is accepted.
    pub allow_async_commit: bool,
}

pub(super) fn read(s: &mut Sources) -> DatabaseSettings {
    let url = s.take("database.url", DatabaseUrl::parse);
    let on_sqlite = url.backend == Backend::Sqlite;
    let read_url = s.take_optional("database.read_url", DatabaseUrl::parse);
    if let Some(read_url) = &read_url
        && (on_sqlite || read_url.backend != url.backend)
    {
        s.mistake(
            "database.read_url",
            "names a replica, which only PostgreSQL supports",
        );
    }
    DatabaseSettings {
        url,
        read_url,
        max_connections: s.take("database.max_connections", |text| number(text, (1, 1000))),
        migrate: s.take_or("database.migrate", on_sqlite, boolean),
        allow_async_commit: s.take("database.allow_async_commit", boolean),
    }
}
