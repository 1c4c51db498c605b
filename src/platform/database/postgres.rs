//! PostgreSQL: connection options, start-up checks, readiness.

use std::collections::HashMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::ThreadId;
use std::time::Duration;

use sqlx::Connection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgSslMode};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::pg_pool::{Connector, Neighbours, PgPool, SessionLimits};
use super::statement::{FromRow, Rows, Statement};
use super::{ACQUIRE_TIMEOUT, CONNECT_TIMEOUT, ConnectError, Pools, describe_error};
use crate::config::{DatabaseUrl, Settings};
use crate::platform::errors::error_chain;
use crate::platform::metrics::{DatabasePool, Metrics, PoolSize};

/// The oldest supported PostgreSQL version.
const OLDEST: i32 = 15;

/// The only encoding that can store every name.
const ENCODING: &str = "UTF8";

pub(super) const SERVER_FACTS: &str = "SELECT current_setting('server_version_num')::int, \
     current_setting('synchronous_commit'), current_setting('server_encoding'), \
     current_setting('client_encoding')";

static STATE_POSTGRES: Statement = Statement::new(
    "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean, \
     current_setting('server_encoding')",
);

/// Set in the session, and not in its startup packet: a pooler such as `PgBouncer` rejects
/// `options` there.
pub(super) const LIMIT_SESSION: &str = "SELECT set_config('statement_timeout', $1, false), \
     set_config('lock_timeout', $2, false), \
     set_config('idle_in_transaction_session_timeout', $3, false)";

pub(super) const MARK_SESSION: &str = "SELECT set_config('signup.session', $1, false)";

pub(super) const SESSION_MARK: &str = "SELECT current_setting('signup.session', true)";

/// The driver's options for a URL.
///
/// # Errors
/// When the URL is invalid; the text has no secret.
pub fn options(url: &DatabaseUrl) -> Result<PgConnectOptions, ConnectError> {
    PgConnectOptions::from_str(url.expose())
        .map(|options| {
            let options = options.extra_float_digits(None);
            if url.names_application() {
                options
            } else {
                options.application_name("signup-service")
            }
        })
        // The driver's text may contain the URL.
        .map_err(|_| ConnectError("DATABASE_URL is not a valid postgres:// URL".to_owned()))
}

/// Whether the connection to another host is unencrypted.
pub(super) fn is_in_clear(options: &PgConnectOptions) -> bool {
    let encrypts = matches!(
        options.get_ssl_mode(),
        PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull
    );
    let host = options.get_host();
    let is_here = options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback());
    !encrypts && !is_here
}

/// The address of the server, without user or password.
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
/// One line with the address and the reason.
pub async fn connect_one(options: &PgConnectOptions) -> Result<PgConnection, ConnectError> {
    let place = describe(options);
    match tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(ConnectError(why_refused(options, &error))),
        Err(_) => Err(ConnectError(format!(
            "cannot reach {place}: no response within {} s",
            CONNECT_TIMEOUT.as_secs()
        ))),
    }
}

/// Why a server refused a connection, with the command that fixes it if there is one.
fn why_refused(options: &PgConnectOptions, error: &sqlx::Error) -> String {
    let place = describe(options);
    let user = options.get_username();
    let sqlx::Error::Database(refusal) = error else {
        return format!("cannot reach {place}: {}", error_chain(error));
    };
    let code = refusal.code().unwrap_or_default();
    let database = options.get_database().unwrap_or(user);
    match code.as_ref() {
        // A server that hides whether a role exists reports a missing role as a wrong password.
        "28P01" => format!(
            "{place} refuses the password of the role {user}; if the role does not exist, create it: \
             createuser --pwprompt {user}"
        ),
        "28000" => format!(
            "{place} refuses the role {user}: it does not exist (createuser \
             --pwprompt {user}), may not log in, or has no line in pg_hba.conf"
        ),
        "3D000" => {
            format!("{place}: no such database; create it: createdb --owner={user} {database}")
        }
        "42501" => format!(
            "{place} does not allow the role {user} to connect: GRANT CONNECT ON DATABASE {database} \
             TO {user}"
        ),
        "53300" => format!("{place} has no free connection (53300)"),
        "57P03" => format!("{place} is starting up or shutting down (57P03)"),
        "08P01" => format!(
            "{place} refuses the startup parameters (08P01); if it is a pooler, set its \
             ignore_startup_parameters"
        ),
        _ => format!("{place} refuses the connection ({code})"),
    }
}

/// Opens a connection and limits its session.
///
/// # Errors
/// The driver's.
pub(super) async fn connect_limited(
    options: PgConnectOptions,
    limits: Option<SessionLimits>,
) -> Result<PgConnection, sqlx::Error> {
    let mut connection = PgConnection::connect_with(&options).await?;
    if let Some(limits) = limits {
        sqlx::query(LIMIT_SESSION)
            .bind(limits.statement)
            .bind(limits.lock)
            .bind(limits.idle_in_transaction)
            .execute(&mut connection)
            .await?;
    }
    Ok(connection)
}

/// Time limits are nested: a lock wait ends before its statement, a statement before its request.
fn session_limits(request: Duration) -> SessionLimits {
    let request = request.as_millis();
    SessionLimits {
        statement: (request * 8 / 10).to_string(),
        lock: (request / 2).to_string(),
        idle_in_transaction: request.to_string(),
    }
}

pub(super) async fn connect(settings: &Settings, metrics: &Metrics) -> Result<Pools, ConnectError> {
    let database = &settings.database;
    let request = settings.http.request_timeout;
    let write = options(&database.url)?;
    first_contact(&write, Some(database.allow_async_commit)).await?;
    let replica = database.read_url.as_ref().map(options).transpose()?;
    if let Some(replica) = &replica {
        first_contact(replica, None).await?;
    }
    for options in [Some(&write), replica.as_ref()].into_iter().flatten() {
        if is_in_clear(options) {
            tracing::warn!(
                "PostgreSQL is on another host and sslmode does not require encryption: passwords \
                 and addresses may travel in clear; add sslmode=verify-full to its URL"
            );
        }
    }

    let make = |options: &PgConnectOptions, most: u32, kind, home| Connector {
        options: options.clone(),
        limits: Some(session_limits(request)),
        most: usize::try_from(most).unwrap_or(usize::MAX),
        kept: match kind {
            DatabasePool::Write => usize::try_from(most / 2).unwrap_or(usize::MAX),
            DatabasePool::Read => 0,
        },
        patience: ACQUIRE_TIMEOUT.min(request / 2),
        kind,
        home,
    };
    let most = database.max_connections;
    let home = || Some(Handle::current());
    let neighbours = Neighbours::new();
    let writes = PgPool::new(
        make(&write, most, DatabasePool::Write, home()),
        &neighbours,
        metrics,
    );
    let threads = u32::try_from(settings.http.workers).unwrap_or(u32::MAX);
    // With one connection per thread, a slow query would block all others of the thread.
    let threads_have_their_own = most / 2 >= threads;
    let read = replica.as_ref().unwrap_or(&write);
    let near = if replica.is_some() {
        Neighbours::new()
    } else {
        neighbours
    };
    let shared = if replica.is_some() || !threads_have_their_own {
        let make = make(read, most, DatabasePool::Read, home());
        PgPool::new(make, &near, metrics)
    } else {
        writes.clone()
    };
    let when_tight = if replica.is_some() {
        shared.clone()
    } else {
        writes.clone()
    };
    let of_threads = if threads_have_their_own {
        (0..threads)
            .map(|thread| most / threads + u32::from(thread < most % threads))
            .map(|share| make(read, share, DatabasePool::Read, None))
            .collect()
    } else {
        Vec::new()
    };
    Ok(Pools::Postgres {
        write: writes,
        read: PgReads(Arc::new(Reads {
            most: usize::try_from(most).unwrap_or(usize::MAX),
            shared,
            when_tight,
            near,
            metrics: metrics.clone(),
            threads: RwLock::new(Threads {
                pools: HashMap::new(),
                shares: of_threads,
                closed: false,
            }),
        })),
    })
}

/// The connections for queries: a pool per server thread, as long as the server has connections for
/// all of them.
///
/// A connection belongs to the runtime of the thread that opened it, and each thread ends
/// independently when the service stops. So a thread's requests use its own connections: they live
/// as long as the thread, and no query waits for two threads to wake each other. If there are too
/// few connections for that, threads share some on the process's own runtime.
#[derive(Clone)]
pub struct PgReads(Arc<Reads>);

struct Reads {
    most: usize,
    /// Used if threads have no connections of their own.
    shared: PgPool,
    /// Used while the server has none to spare: the pool of the commands, if it is the same server.
    when_tight: PgPool,
    near: Arc<Neighbours>,
    metrics: Metrics,
    threads: RwLock<Threads>,
}

struct Threads {
    pools: HashMap<ThreadId, PgPool>,
    /// Connectors for the threads that have no pool yet.
    shares: Vec<Connector>,
    closed: bool,
}

impl PgReads {
    /// The rows of a statement; see [`PgPool::fetch_all`].
    ///
    /// # Errors
    /// The driver's.
    pub async fn fetch_all<T: FromRow>(
        &self,
        of: &'static Statement,
        arguments: PgArguments,
        rows: Rows,
    ) -> Result<Vec<T>, sqlx::Error> {
        self.here().fetch_all(of, arguments, rows).await
    }

    /// The pool for the current thread.
    fn here(&self) -> PgPool {
        if self.0.near.is_tight() {
            return self.0.when_tight.clone();
        }
        let thread = std::thread::current().id();
        let threads = self
            .0
            .threads
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = threads.pools.get(&thread) {
            return pool.clone();
        }
        let has_share = !threads.shares.is_empty();
        drop(threads);
        let is_of_the_server = Handle::try_current()
            .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::CurrentThread);
        if !has_share || !is_of_the_server {
            return self.0.shared.clone();
        }
        let mut threads = self
            .0
            .threads
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(share) = threads.shares.pop() else {
            return self.0.shared.clone();
        };
        let pool = PgPool::new(share, &self.0.near, &self.0.metrics);
        if threads.closed {
            pool.shut();
        }
        threads.pools.insert(thread, pool.clone());
        pool
    }

    /// The sum over all threads.
    pub(super) fn size(&self, write: &PgPool) -> PoolSize {
        let threads = self
            .0
            .threads
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let shared = (!self.0.shared.is(write)).then(|| self.0.shared.size());
        let sizes = threads.pools.values().map(PgPool::size).chain(shared);
        let none = PoolSize {
            most: self.0.most,
            ..PoolSize::default()
        };
        sizes.fold(none, |all, one| PoolSize {
            idle: all.idle + one.idle,
            in_use: all.in_use + one.in_use,
            most: all.most,
        })
    }

    pub(super) async fn close(&self) {
        let pools: Vec<PgPool> = {
            let mut threads = self
                .0
                .threads
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            threads.closed = true;
            threads.pools.values().cloned().collect()
        };
        for pool in &pools {
            pool.close().await;
        }
        self.0.shared.close().await;
    }
}

/// Opens a connection to each server once, and checks that it is suitable. `allow_async_commit`
/// does not apply to read-only connections.
async fn first_contact(
    options: &PgConnectOptions,
    allow_async_commit: Option<bool>,
) -> Result<(), ConnectError> {
    let mut connection = connect_one(options).await?;
    let checked = check_server(&mut connection, allow_async_commit).await;
    let unfit = match checked {
        Ok(()) => check_session(&mut connection, options).await,
        Err(reason) => Err(reason),
    };
    let _ = connection.close().await;
    unfit.map_err(|reason| ConnectError(format!("{} {reason}", describe(options))))
}

async fn check_server(
    connection: &mut PgConnection,
    allow_async_commit: Option<bool>,
) -> Result<(), String> {
    let facts: Result<(i32, String, String, String), _> =
        sqlx::query_as(SERVER_FACTS).fetch_one(connection).await;
    let (version, synchronous_commit, encoding, client_encoding) =
        facts.map_err(|error| format!("does not respond: {}", describe_error(&error)))?;
    if version / 10_000 < OLDEST {
        return Err(format!(
            "is version {}; {OLDEST} or newer is needed",
            version / 10_000
        ));
    }
    if encoding != ENCODING || client_encoding != ENCODING {
        return Err(format!(
            "is encoded as {encoding} (session: {client_encoding}), which cannot hold every name; \
             create one with createdb --encoding=UTF8 --template=template0"
        ));
    }
    if synchronous_commit == "off" && allow_async_commit == Some(false) {
        return Err(
            "has synchronous_commit=off and would lose acknowledged signups in a crash; set it \
             to on, or DATABASE_ALLOW_ASYNC_COMMIT=true to accept that"
                .to_owned(),
        );
    }
    Ok(())
}

/// Detects a pooler that assigns a session to another client after each transaction: the mark of
/// one session is then visible in another. Prepared statements and time limits belong to a session.
async fn check_session(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
) -> Result<(), String> {
    let mark = std::process::id().to_string();
    // Unnamed statements: named ones would conflict before the mark is seen.
    let marked = sqlx::query(MARK_SESSION).bind(&mark).persistent(false);
    let marked = marked.execute(connection).await;
    marked.map_err(|error| format!("does not respond: {}", describe_error(&error)))?;
    // The server may have no second connection to spare.
    let Ok(mut other) = connect_one(options).await else {
        return Ok(());
    };
    let found = sqlx::query_scalar(SESSION_MARK).persistent(false);
    let found: Result<Option<String>, _> = found.fetch_one(&mut other).await;
    let _ = other.close().await;
    if found.is_ok_and(|found| found == Some(mark)) {
        return Err(
            "is behind a pooler that shares sessions between clients (PgBouncer's transaction \
             mode); use its session mode, or connect to the server itself"
                .to_owned(),
        );
    }
    Ok(())
}

pub(super) async fn check_writable(pool: &PgPool) -> Result<(), String> {
    let asked: Result<Vec<(bool, String)>, _> = pool
        .fetch_all(&STATE_POSTGRES, PgArguments::default(), Rows::Few)
        .await;
    match asked.as_deref() {
        Ok([(false, encoding)]) if encoding == ENCODING => Ok(()),
        Ok([(false, _)]) => Err("not encoded as UTF8".to_owned()),
        Ok([(true, _)]) => Err("read-only".to_owned()),
        Ok(_) => Err("no response".to_owned()),
        Err(error) => {
            tracing::warn!(reason = describe_error(error), "database check failed");
            Err("no response".to_owned())
        }
    }
}
