//! PostgreSQL: options, start-up checks, readiness.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::ThreadId;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{Connection, Postgres};

use super::transaction::ping_if_idle;
use super::{ACQUIRE_TIMEOUT, CONNECT_TIMEOUT, Connections, Database, Unusable, in_words};
use crate::config::{DatabaseUrl, Settings};
use crate::platform::metrics::{DatabasePool, Metrics, PoolSize};
use crate::platform::problem::error_chain;
use crate::platform::telemetry::spans::{System, statement};

/// The oldest PostgreSQL that is tested.
const OLDEST: i32 = 15;

pub(super) const SERVER_FACTS: &str = "SELECT current_setting('server_version_num')::int, \
     current_setting('synchronous_commit')";

pub(super) const IS_READ_ONLY: &str =
    "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean";

/// The driver's options for a URL.
///
/// # Errors
/// When the URL can't be read; the text has no secret.
pub fn options(url: &DatabaseUrl) -> Result<PgConnectOptions, Unusable> {
    PgConnectOptions::from_str(url.expose())
        .map(|options| options.application_name("signup-service"))
        // The driver's text may repeat the URL.
        .map_err(|_| Unusable("DATABASE_URL is not a valid postgres:// URL".to_owned()))
}

/// Where the server is, without user or password.
#[must_use]
pub fn describe(options: &PgConnectOptions) -> String {
    let place = options.get_socket().map_or_else(
        || format!("{}:{}", options.get_host(), options.get_port()),
        |socket| socket.display().to_string(),
    );
    let database = options.get_database().unwrap_or("(default)");
    format!("PostgreSQL at {place}, database {database}")
}

/// Opens one connection, within the time limit.
///
/// # Errors
/// One line that says where and why.
pub async fn connect_one(options: &PgConnectOptions) -> Result<PgConnection, Unusable> {
    let place = describe(options);
    match tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(Unusable(format!(
            "cannot reach {place}: {}",
            error_chain(&error)
        ))),
        Err(_) => Err(Unusable(format!(
            "cannot reach {place}: no answer within {} s",
            CONNECT_TIMEOUT.as_secs()
        ))),
    }
}

/// Time limits nest: a lock wait ends before its statement, a statement before its request.
fn with_time_limits(options: PgConnectOptions, request: Duration) -> PgConnectOptions {
    let statement = request.as_millis() * 8 / 10;
    let lock = request.as_millis() / 2;
    options.options([
        ("statement_timeout", statement.to_string()),
        ("lock_timeout", lock.to_string()),
        (
            "idle_in_transaction_session_timeout",
            request.as_millis().to_string(),
        ),
    ])
}

pub(super) async fn connect(settings: &Settings, metrics: &Metrics) -> Result<Database, Unusable> {
    let database = &settings.database;
    let request = settings.http.request_timeout;
    let write = options(&database.url)?;
    let mut connection = connect_one(&write).await?;
    check_server(&mut connection, database.allow_async_commit)
        .await
        .map_err(|reason| Unusable(format!("{} {reason}", describe(&write))))?;
    let _ = connection.close().await;

    let read = options(database.read_url.as_ref().unwrap_or(&database.url))?;
    if database.read_url.is_some() {
        let _ = connect_one(&read).await?.close().await;
    }
    let pool = PgPoolOptions::new()
        .acquire_timeout(ACQUIRE_TIMEOUT.min(request / 2))
        .test_before_acquire(false)
        .before_acquire(|connection, meta| Box::pin(ping_if_idle(connection, meta.idle_for)));
    let threads = u32::try_from(settings.http.workers).unwrap_or(u32::MAX);
    let writes = pool
        .clone()
        .max_connections(database.max_connections)
        .connect_lazy_with(with_time_limits(write, request));
    Ok(Database::Postgres {
        write: Connections::new(writes, DatabasePool::Write, metrics),
        read: PgReads(Arc::new(Reads {
            settings: pool.max_connections(database.max_connections.div_ceil(threads)),
            options: with_time_limits(read, request),
            metrics: metrics.clone(),
            pools: RwLock::default(),
        })),
    })
}

/// The connections for queries: a pool for each of the server's threads.
///
/// A connection belongs to the runtime of the thread that opened it, and each thread ends by
/// itself when the service stops. So a thread's requests use its own connections: they are there
/// as long as it is, and no query waits for two threads to wake each other.
#[derive(Clone)]
pub struct PgReads(Arc<Reads>);

struct Reads {
    settings: PgPoolOptions,
    options: PgConnectOptions,
    metrics: Metrics,
    pools: RwLock<Pools>,
}

#[derive(Default)]
struct Pools {
    by_thread: HashMap<ThreadId, Connections<Postgres>>,
    closed: bool,
}

impl PgReads {
    /// Waits for a connection of this thread.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        self.here().acquire().await
    }

    /// The pool of this thread.
    fn here(&self) -> Connections<Postgres> {
        let thread = std::thread::current().id();
        let pools = self.0.pools.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.by_thread.get(&thread) {
            return pool.clone();
        }
        drop(pools);
        let settings = self.0.settings.clone();
        let pool = settings.connect_lazy_with(self.0.options.clone());
        let pool = Connections::new(pool, DatabasePool::Read, &self.0.metrics);
        let mut pools = self.0.pools.write().unwrap_or_else(PoisonError::into_inner);
        if pools.closed {
            // To begin to close is enough: the pool gives no connection any more.
            let closing = pool.clone();
            drop(closing.close());
        }
        pools.by_thread.insert(thread, pool.clone());
        pool
    }

    /// Over all threads that have asked.
    pub(super) fn size(&self) -> PoolSize {
        let pools = self.0.pools.read().unwrap_or_else(PoisonError::into_inner);
        let sizes = pools.by_thread.values().map(Connections::size);
        sizes.fold(PoolSize::default(), |all, one| PoolSize {
            idle: all.idle + one.idle,
            in_use: all.in_use + one.in_use,
            most: all.most + one.most,
        })
    }

    pub(super) async fn close(&self) {
        let pools: Vec<Connections<Postgres>> = {
            let mut pools = self.0.pools.write().unwrap_or_else(PoisonError::into_inner);
            pools.closed = true;
            pools.by_thread.values().cloned().collect()
        };
        for pool in pools {
            pool.close().await;
        }
    }
}

async fn check_server(
    connection: &mut PgConnection,
    allow_async_commit: bool,
) -> Result<(), String> {
    let (version, synchronous_commit): (i32, String) = sqlx::query_as(SERVER_FACTS)
        .fetch_one(connection)
        .await
        .map_err(|error| format!("does not answer: {}", error_chain(&error)))?;
    if version / 10_000 < OLDEST {
        return Err(format!(
            "is version {}; {OLDEST} or newer is needed",
            version / 10_000
        ));
    }
    if synchronous_commit == "off" && !allow_async_commit {
        return Err(
            "has synchronous_commit=off and would lose acknowledged signups in a crash; set it \
             to on, or DATABASE_ALLOW_ASYNC_COMMIT=true to accept that"
                .to_owned(),
        );
    }
    Ok(())
}

pub(super) const IS_READABLE: &str = "SELECT count(*) FROM users_read WHERE id IS NULL";

pub(super) async fn check_readable(reads: &PgReads) -> Result<(), sqlx::Error> {
    let mut connection = reads.acquire().await?;
    let asked = sqlx::query(IS_READABLE).execute(&mut *connection);
    statement(System::Postgres, "SELECT", "users_read", asked).await?;
    Ok(())
}

pub(super) async fn check_writable(pool: &Connections<Postgres>) -> Result<(), String> {
    let asked = async {
        let mut connection = pool.acquire().await?;
        let asked = sqlx::query_scalar::<_, bool>(IS_READ_ONLY).fetch_one(&mut *connection);
        statement(System::Postgres, "SELECT", "", asked).await
    };
    match asked.await {
        Ok(false) => Ok(()),
        Ok(true) => Err("read-only".to_owned()),
        Err(error) => {
            tracing::warn!(reason = in_words(&error), "database check failed");
            Err("no answer".to_owned())
        }
    }
}
