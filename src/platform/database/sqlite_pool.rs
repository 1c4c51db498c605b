//! Connections to SQLite: opened on demand, and kept.
//!
//! A connection of the driver is a thread. The driver's own pool pings that thread each time a
//! connection is returned, which nearly doubles the cost of a single-row read. Here a connection is
//! pinged only if a caller was cancelled in the middle of something, or had an error.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::Histogram;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Sqlite};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::pg_pool::place;
use super::statement::{FromRow, Row, Rows, Statement};
use super::transaction::Pooled;
use crate::platform::metrics::{DatabasePool, Metrics, PoolSize};
use crate::platform::telemetry::spans::within_fallibly;

/// How long the unfinished work of a cancelled caller may take to end on a connection.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// A pool of connections. Clones share the same pool.
#[derive(Clone)]
pub struct SqlitePool(Arc<Inner>);

struct Inner {
    options: SqliteConnectOptions,
    /// How long a caller waits for a connection.
    patience: Duration,
    most: u32,
    /// One permit for each connection that may be in use.
    places: Arc<Semaphore>,
    /// Acquired first for a read of many rows: half of the places.
    many: Arc<Semaphore>,
    /// The most recently used is at the end.
    idle: Mutex<Vec<Open>>,
    is_closed: AtomicBool,
    /// Connections that are open, or about to be.
    open: Arc<AtomicUsize>,
    waits: Histogram,
}

/// An open connection.
struct Open {
    connection: SqliteConnection,
    _counted: Counted,
}

/// Counts as open until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl SqlitePool {
    /// Opens one connection, and more on demand, up to the limit. A caller waits at most `patience`
    /// for one.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub async fn open(
        options: SqliteConnectOptions,
        most: u32,
        patience: Duration,
        kind: DatabasePool,
        metrics: &Metrics,
    ) -> Result<Self, sqlx::Error> {
        let most = most.max(1);
        let places = usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS);
        let pool = Self(Arc::new(Inner {
            options,
            patience,
            most,
            places: Arc::new(Semaphore::new(places)),
            many: Arc::new(Semaphore::new(places.div_ceil(2))),
            idle: Mutex::default(),
            is_closed: AtomicBool::new(false),
            open: Arc::default(),
            waits: metrics.pool_waits(kind),
        }));
        pool.acquire().await?.give_back();
        Ok(pool)
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// When none is available in time.
    pub async fn acquire(&self) -> Result<SqliteLease, sqlx::Error> {
        self.acquire_for(Rows::Few).await
    }

    async fn acquire_for(&self, rows: Rows) -> Result<SqliteLease, sqlx::Error> {
        // Observes when dropped, also if the caller is cancelled.
        let _waiting = self.0.waits.start_timer();
        within_fallibly("connection", async {
            if rows == Rows::Few
                && let Some(lease) = self.at_once()
            {
                return Ok(lease);
            }
            // Boxed: it is large, and part of every other future.
            let found = tokio::time::timeout(self.0.patience, Box::pin(self.wait(rows)));
            found.await.map_err(|_| sqlx::Error::PoolTimedOut)?
        })
        .await
    }

    /// An idle connection.
    fn at_once(&self) -> Option<SqliteLease> {
        if self.0.is_closed.load(Ordering::Acquire) {
            return None;
        }
        let permit = Arc::clone(&self.0.places).try_acquire_owned().ok()?;
        let open = self.0.idle().pop()?;
        Some(self.lease(open, permit))
    }

    async fn wait(&self, rows: Rows) -> Result<SqliteLease, sqlx::Error> {
        let many = match rows {
            Rows::Few => None,
            Rows::Many => Some(place(&self.0.many).await?),
        };
        let permit = place(&self.0.places).await?;
        if self.0.is_closed.load(Ordering::Acquire) {
            return Err(sqlx::Error::PoolClosed);
        }
        let idle = self.0.idle().pop();
        let open = match idle {
            Some(open) => open,
            None => self.0.connect().await?,
        };
        let mut lease = self.lease(open, permit);
        lease.many = many;
        Ok(lease)
    }

    fn lease(&self, open: Open, permit: OwnedSemaphorePermit) -> SqliteLease {
        SqliteLease {
            open: Some(open),
            permit: Some(permit),
            many: None,
            pool: Arc::clone(&self.0),
        }
    }

    /// The rows of a statement.
    ///
    /// # Errors
    /// The driver's.
    pub async fn fetch_all<T: FromRow>(
        &self,
        of: &'static Statement,
        arguments: SqliteArguments,
        rows: Rows,
    ) -> Result<Vec<T>, sqlx::Error> {
        let mut connection = self.acquire_for(rows).await?;
        let fetched = of.fetch_on_sqlite(&mut connection, arguments).await;
        connection.finish(&fetched);
        fetched?
            .iter()
            .map(|row| T::from_row(Row::Sqlite(row)))
            .collect()
    }

    pub(super) fn size(&self) -> PoolSize {
        let idle = self.0.idle().len();
        PoolSize {
            idle,
            in_use: self.0.open.load(Ordering::Acquire).saturating_sub(idle),
            most: usize::try_from(self.0.most).unwrap_or(usize::MAX),
        }
    }

    /// Stops handing out connections, waits for those in use, and closes all.
    pub(super) async fn close(&self) {
        self.0.is_closed.store(true, Ordering::Release);
        let all = self.0.places.acquire_many(self.0.most).await;
        self.0.places.close();
        self.0.many.close();
        let idle = std::mem::take(&mut *self.0.idle());
        for open in idle {
            let _ = open.connection.close().await;
        }
        drop(all);
    }
}

impl Inner {
    fn idle(&self) -> MutexGuard<'_, Vec<Open>> {
        // Nothing that can panic runs under the lock.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(&self) -> Result<Open, sqlx::Error> {
        self.open.fetch_add(1, Ordering::AcqRel);
        let counted = Counted(Arc::clone(&self.open));
        Ok(Open {
            connection: SqliteConnection::connect_with(&self.options).await?,
            _counted: counted,
        })
    }
}

/// A connection leased to one caller. If the caller is cancelled, the connection returns to the
/// pool once the work in progress on it has ended.
pub struct SqliteLease {
    open: Option<Open>,
    permit: Option<OwnedSemaphorePermit>,
    many: Option<OwnedSemaphorePermit>,
    pool: Arc<Inner>,
}

impl SqliteLease {
    /// Ends the use of the connection, according to the result of the last statement on it.
    pub fn finish<T>(self, result: &Result<T, sqlx::Error>) {
        match result {
            Ok(_) => self.give_back(),
            // An error of the database leaves the connection usable; any other does not.
            Err(sqlx::Error::Database(_)) => {}
            Err(_) => self.discard(),
        }
    }
}

impl Pooled for SqliteLease {
    type Backend = Sqlite;

    fn give_back(mut self) {
        if let Some(open) = self.open.take() {
            self.pool.idle().push(open);
        }
        drop(self.permit.take());
    }

    fn discard(mut self) {
        drop(self.open.take());
    }
}

impl Deref for SqliteLease {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        let open = self.open.as_ref().expect("present until the lease ends");
        &open.connection
    }
}

impl DerefMut for SqliteLease {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        let open = self.open.as_mut().expect("present until the lease ends");
        &mut open.connection
    }
}

impl Drop for SqliteLease {
    fn drop(&mut self) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        let permits = (self.permit.take(), self.many.take());
        let pool = Arc::clone(&self.pool);
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            let pinged = tokio::time::timeout(DRAIN_LIMIT, open.connection.ping()).await;
            if let Ok(Ok(())) = pinged {
                pool.idle().push(open);
            }
            drop(permits);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(200);

    async fn pool(most: u32) -> SqlitePool {
        patient_pool(most, PATIENCE).await
    }

    async fn patient_pool(most: u32, patience: Duration) -> SqlitePool {
        let metrics = Metrics::new().expect("names that differ");
        let options = SqliteConnectOptions::new().in_memory(true);
        SqlitePool::open(options, most, patience, DatabasePool::Read, &metrics)
            .await
            .expect("opens")
    }

    async fn fetch(
        pool: &SqlitePool,
        of: &'static Statement,
        rows: Rows,
    ) -> Result<Vec<(i64,)>, sqlx::Error> {
        pool.fetch_all(of, SqliteArguments::default(), rows).await
    }

    static ONE: Statement = Statement::new("SELECT 1");

    async fn one(pool: &SqlitePool) -> Result<Vec<(i64,)>, sqlx::Error> {
        fetch(pool, &ONE, Rows::Few).await
    }

    /// Takes longer than any caller waits.
    static LONG: Statement = Statement::new(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000) \
         SELECT max(i) FROM n",
    );

    static WRONG: Statement = Statement::new("SELECT nothing");

    #[tokio::test]
    async fn connections_are_used_again_and_not_more_than_allowed() {
        let pool = pool(2).await;
        for _ in 0..5 {
            one(&pool).await.expect("a row");
        }
        assert_eq!((pool.size().idle, pool.size().in_use), (1, 0));
        let first = pool.acquire().await.expect("a place");
        let second = pool.acquire().await.expect("a place");
        assert_eq!((pool.size().idle, pool.size().in_use), (0, 2));
        assert!(matches!(
            pool.acquire().await,
            Err(sqlx::Error::PoolTimedOut)
        ));
        first.give_back();
        one(&pool).await.expect("a row");
        second.discard();
        assert_eq!((pool.size().idle, pool.size().in_use), (1, 0));
    }

    #[tokio::test]
    async fn reads_of_many_rows_leave_half_of_the_connections_to_others() {
        let pool = patient_pool(4, Duration::from_secs(30)).await;
        let pages = futures_util::future::join_all((0..8).map(|_| fetch(&pool, &LONG, Rows::Many)));
        let single = async {
            while pool.size().in_use < 2 {
                tokio::task::yield_now().await;
            }
            one(&pool).await.expect("a row");
        };
        let (pages, single) = (std::pin::pin!(pages), std::pin::pin!(single));
        let done = futures_util::future::select(pages, single).await;
        assert!(matches!(done, futures_util::future::Either::Right(_)));
        assert_eq!(pool.size().in_use, 2);
    }

    #[tokio::test]
    async fn a_cancelled_read_of_many_rows_keeps_its_place_until_they_are_read() {
        let pool = patient_pool(2, Duration::from_secs(30)).await;
        let long = fetch(&pool, &LONG, Rows::Many);
        let cut = tokio::time::timeout(Duration::from_millis(20), long).await;
        assert!(cut.is_err(), "it was in progress");
        assert_eq!(pool.0.many.available_permits(), 0);
        let _next = place(&pool.0.many).await.expect("free in the end");
        assert_eq!(pool.size().in_use, 0);
    }

    #[tokio::test]
    async fn unfinished_work_of_a_cancelled_caller_ends_before_the_next_begins() {
        let pool = pool(1).await;
        // Its connection is open: on a slow machine, that alone may take as long.
        one(&pool).await.expect("a row");
        let long = fetch(&pool, &LONG, Rows::Few);
        let cut = tokio::time::timeout(Duration::from_millis(20), long).await;
        assert!(cut.is_err(), "it was in progress");
        // Its place is not free until it has ended.
        assert_eq!(pool.size().in_use, 1);
        assert!(pool.at_once().is_none());
        while pool.size().idle == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        one(&pool).await.expect("a row");
    }

    #[tokio::test]
    async fn a_statement_that_fails_leaves_its_connection_in_the_pool() {
        let pool = pool(1).await;
        let wrong = fetch(&pool, &WRONG, Rows::Few);
        assert!(matches!(wrong.await, Err(sqlx::Error::Database(_))));
        one(&pool).await.expect("a row");
        assert_eq!(pool.size().idle, 1);
    }

    #[tokio::test]
    async fn closing_a_pool_waits_for_connections_in_use() {
        let pool = pool(2).await;
        let lease = pool.acquire().await.expect("a place");
        let closing = pool.clone();
        let closed = tokio::spawn(async move { closing.close().await });
        while !pool.0.is_closed.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
        assert!(matches!(
            pool.acquire().await,
            Err(sqlx::Error::PoolClosed | sqlx::Error::PoolTimedOut)
        ));
        assert!(!closed.is_finished());
        lease.give_back();
        closed.await.expect("ends");
        assert!(matches!(one(&pool).await, Err(sqlx::Error::PoolClosed)));
        assert_eq!(pool.size().in_use, 0);
    }
}
