//! Connections to PostgreSQL: pools that share the server's connections.
//!
//! A library's pool keeps its idle connections while another pool is refused for lack of them. The
//! pools here know each other: one that is refused takes an idle connection of another, admits no
//! more of its callers than it has connections, and tries to open more once a second. A connection
//! that is idle for some seconds is closed, for other instances and programs.
//!
//! A statement stays prepared on its connection until the schema changes under it. An error that
//! reports this makes every connection prepare its statements again before its next use.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use prometheus::Histogram;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection};
use sqlx::{Connection, Postgres};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::AbortOnDropHandle;

use super::statement::{FromRow, Row, Rows, Statement};
use super::transaction::{Pooled, TRUSTED};
use super::{is_out_of_connections, is_stale_plan};
use crate::platform::clock;
use crate::platform::metrics::{DatabasePool, Metrics, PoolSize, Retry};
use crate::platform::telemetry::spans::within_fallibly;

/// How long a connection may be idle. Short, so that other instances can use the connection.
const IDLE_LIFE: Duration = Duration::from_secs(4);

/// The interval between two cleanups of idle connections, and two attempts to open one more.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// How long the threads share their connections after the server has refused one.
const TIGHT_FOR_MS: u64 = 60_000;

/// The delay between two attempts to open a connection: at first, and at most.
const RETRY: Duration = Duration::from_millis(10);
const MAX_RETRY: Duration = Duration::from_millis(160);

/// How long the unfinished work of a cancelled caller may take to end on a connection, and how long
/// closing one may take.
const DRAIN_LIMIT: Duration = Duration::from_secs(10);
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// Settings of a session, made before its first use.
#[derive(Debug, Clone)]
pub struct SessionLimits {
    /// `statement_timeout`, in milliseconds.
    pub statement: String,
    /// `lock_timeout`, in milliseconds.
    pub lock: String,
    /// `idle_in_transaction_session_timeout`, in milliseconds.
    pub idle_in_transaction: String,
}

/// The state that the pools of one server share.
pub struct Neighbours {
    pools: Mutex<Vec<Weak<Inner>>>,
    /// Incremented when the schema has changed: older prepared statements are invalid.
    plans: AtomicU64,
    /// Until when the server is assumed to have no free connection, in milliseconds since `made`.
    tight_until: AtomicU64,
    made: Instant,
}

impl Neighbours {
    /// Maintains the pools that are added later, until the last one is dropped.
    pub fn new() -> Arc<Self> {
        let neighbours = Arc::new(Self {
            pools: Mutex::default(),
            plans: AtomicU64::new(0),
            tight_until: AtomicU64::new(0),
            made: clock::monotonic(),
        });
        let weak = Arc::downgrade(&neighbours);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TIDY_EVERY).await;
                let Some(neighbours) = weak.upgrade() else {
                    return;
                };
                for pool in neighbours.pools() {
                    pool.tidy();
                }
            }
        });
        neighbours
    }

    /// Whether the server has recently refused a connection for lack of them.
    pub fn is_tight(&self) -> bool {
        let until = self.tight_until.load(Ordering::Acquire);
        until > 0 && self.age_in_ms() < until
    }

    fn age_in_ms(&self) -> u64 {
        u64::try_from(clock::since(self.made).as_millis()).unwrap_or(u64::MAX)
    }

    fn pools(&self) -> Vec<Arc<Inner>> {
        let mut pools = lock(&self.pools);
        pools.retain(|pool| pool.strong_count() > 0);
        pools.iter().filter_map(Weak::upgrade).collect()
    }

    /// Closes an idle connection of another pool for one that the server has refused a connection.
    fn make_room_for(&self, needy: &Arc<Inner>) {
        let now = self.age_in_ms();
        let until = now.saturating_add(TIGHT_FOR_MS);
        if self.tight_until.swap(until, Ordering::AcqRel) < now {
            tracing::warn!(
                "PostgreSQL refuses more connections: threads share them for now; lower \
                 DATABASE_MAX_CONNECTIONS, or raise the server's limit"
            );
        }
        for pool in self.pools() {
            if pool.is_of_a_thread {
                pool.give_back(usize::MAX);
            } else if !Arc::ptr_eq(&pool, needy) {
                pool.give_back(1);
            }
        }
    }
}

/// A pool of connections. Clones share the same pool.
#[derive(Clone)]
pub struct PgPool(Arc<Inner>);

struct Inner {
    options: PgConnectOptions,
    limits: Option<SessionLimits>,
    /// How long a caller waits for a connection.
    patience: Duration,
    most: usize,
    /// One permit for each connection that may be in use.
    places: Arc<Semaphore>,
    /// Acquired first for a single statement, if some places are reserved for transactions.
    unpaid: Option<Semaphore>,
    /// Acquired before that for a read of many rows: half of the places available to it.
    many: Arc<Semaphore>,
    state: Mutex<State>,
    /// Connections that are open, or about to be.
    open: AtomicUsize,
    /// The runtime of the connections; `None` for that of the pool's thread.
    home: Option<Handle>,
    is_of_a_thread: bool,
    neighbours: Arc<Neighbours>,
    waits: Histogram,
    metrics: Metrics,
}

struct State {
    /// The most recently used is at the end.
    idle: Vec<Idle>,
    /// The number of places: fewer than `most` if the server has refused.
    places: usize,
    closed: bool,
}

struct Idle {
    open: Open,
    since: Instant,
}

/// An open connection, counted as open until it is dropped.
struct Open {
    connection: Option<PgConnection>,
    /// The generation of its prepared statements, see [`Neighbours::plans`].
    plans: u64,
    pool: Arc<Inner>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.pool.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The configuration of a pool.
pub struct Connector {
    /// The address of the server.
    pub options: PgConnectOptions,
    /// The settings of each session.
    pub limits: Option<SessionLimits>,
    /// The maximum number of connections, at least 1.
    pub most: usize,
    /// Places that are reserved for transactions, whose callers have paid for them by a hash:
    /// single statements, which read or count, share the others.
    pub kept: usize,
    /// How long a caller waits for a connection.
    pub patience: Duration,
    /// The pool's label in metrics.
    pub kind: DatabasePool,
    /// The runtime of the connections; `None` for that of the pool's thread.
    pub home: Option<Handle>,
}

impl PgPool {
    /// Creates the pool, without opening a connection.
    pub fn new(make: Connector, neighbours: &Arc<Neighbours>, metrics: &Metrics) -> Self {
        let most = make.most.max(1);
        let unpaid = most.saturating_sub(make.kept).max(1);
        let inner = Arc::new(Inner {
            options: make.options,
            limits: make.limits,
            patience: make.patience,
            most,
            places: Arc::new(Semaphore::new(most)),
            unpaid: (make.kept > 0).then(|| Semaphore::new(unpaid)),
            many: Arc::new(Semaphore::new(unpaid.div_ceil(2))),
            state: Mutex::new(State {
                idle: Vec::with_capacity(most),
                places: most,
                closed: false,
            }),
            open: AtomicUsize::new(0),
            is_of_a_thread: make.home.is_none(),
            home: make.home,
            neighbours: Arc::clone(neighbours),
            waits: metrics.pool_waits(make.kind),
            metrics: metrics.clone(),
        });
        lock(&neighbours.pools).push(Arc::downgrade(&inner));
        Self(inner)
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// When none is available in time.
    pub async fn acquire(&self) -> Result<PgLease, sqlx::Error> {
        self.acquire_within(self.0.patience, Rows::Few).await
    }

    async fn acquire_within(&self, patience: Duration, rows: Rows) -> Result<PgLease, sqlx::Error> {
        // Observes when dropped, also if the caller is cancelled.
        let _waiting = self.0.waits.start_timer();
        within_fallibly("connection", async {
            if rows == Rows::Few
                && let Some(lease) = self.at_once()
            {
                return Ok(lease);
            }
            // Boxed: it is large, and part of every other future.
            let found = tokio::time::timeout(patience, Box::pin(self.wait(rows)));
            found.await.map_err(|_| sqlx::Error::PoolTimedOut)?
        })
        .await
    }

    /// An idle connection that needs no check.
    fn at_once(&self) -> Option<PgLease> {
        let permit = Arc::clone(&self.0.places).try_acquire_owned().ok()?;
        let plans = self.0.neighbours.plans.load(Ordering::Acquire);
        let mut state = lock(&self.0.state);
        let last = state.idle.last()?;
        if clock::since(last.since) > TRUSTED || last.open.plans != plans {
            return None;
        }
        let open = state.idle.pop()?.open;
        drop(state);
        Some(PgLease::new(open, permit))
    }

    async fn wait(&self, rows: Rows) -> Result<PgLease, sqlx::Error> {
        let many = match rows {
            Rows::Few => None,
            Rows::Many => Some(place(&self.0.many).await?),
        };
        let mut lease = self.wait_for_any().await?;
        lease.many = many;
        Ok(lease)
    }

    async fn wait_for_any(&self) -> Result<PgLease, sqlx::Error> {
        let inner = &self.0;
        let mut permit = place(&inner.places).await?;
        let mut pause = RETRY;
        loop {
            if lock(&inner.state).closed {
                return Err(sqlx::Error::PoolClosed);
            }
            while let Some(idle) = self.pop() {
                if let Some(open) = fit(idle).await {
                    return Ok(PgLease::new(open, permit));
                }
            }
            match self.open().await {
                Ok(open) => return Ok(PgLease::new(open, permit)),
                Err(error) if is_out_of_connections(&error) => {
                    inner.neighbours.make_room_for(inner);
                    if inner.shrink() {
                        // This place has no connection: wait for one that has.
                        permit.forget();
                        permit = place(&inner.places).await?;
                        continue;
                    }
                }
                Err(error) if is_starting(&error) => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause = MAX_RETRY.min(pause * 2);
        }
    }

    fn pop(&self) -> Option<Idle> {
        lock(&self.0.state).idle.pop()
    }

    async fn open(&self) -> Result<Open, sqlx::Error> {
        self.0.open.fetch_add(1, Ordering::AcqRel);
        // From here on it counts as open until it is dropped.
        let mut open = Open {
            connection: None,
            plans: self.0.neighbours.plans.load(Ordering::Acquire),
            pool: Arc::clone(&self.0),
        };
        let (options, limits) = (self.0.options.clone(), self.0.limits.clone());
        let connect = super::postgres::connect_limited(options, limits);
        let connection = match &self.0.home {
            None => connect.await,
            Some(home) => {
                let task = AbortOnDropHandle::new(home.spawn(connect));
                task.await.map_err(|_| sqlx::Error::WorkerCrashed)?
            }
        };
        open.connection = Some(connection?);
        Ok(open)
    }

    /// The rows of a statement. It is retried once if its prepared statement is invalid.
    ///
    /// # Errors
    /// The driver's.
    pub async fn fetch_all<T: FromRow>(
        &self,
        of: &'static Statement,
        arguments: PgArguments,
        rows: Rows,
    ) -> Result<Vec<T>, sqlx::Error> {
        let end = clock::monotonic() + self.0.patience;
        let _unpaid = match &self.0.unpaid {
            None => None,
            Some(unpaid) => {
                let waited = tokio::time::timeout_at(end.into(), unpaid.acquire()).await;
                let permit = waited.map_err(|_| sqlx::Error::PoolTimedOut)?;
                Some(permit.map_err(|_| sqlx::Error::PoolClosed)?)
            }
        };
        let mut is_first = true;
        loop {
            let patience = end.saturating_duration_since(clock::monotonic());
            let mut connection = self.acquire_within(patience, rows).await?;
            let fetched = of
                .fetch_on_postgres(&mut connection, arguments.clone())
                .await;
            let stale = connection.finish(&fetched);
            if !(stale && is_first) {
                return fetched?
                    .iter()
                    .map(|row| T::from_row(Row::Postgres(row)))
                    .collect();
            }
            is_first = false;
        }
    }

    /// Counts a retry.
    pub fn retried(&self, reason: Retry) {
        self.0.metrics.transaction_retried(reason);
    }

    /// Makes every connection to this server prepare its statements again.
    pub fn forget_plans(&self) {
        self.0.neighbours.plans.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether this is the same pool.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn size(&self) -> PoolSize {
        let idle = lock(&self.0.state).idle.len();
        PoolSize {
            idle,
            in_use: self.0.open.load(Ordering::Acquire).saturating_sub(idle),
            most: self.0.most,
        }
    }

    /// Stops handing out connections.
    pub(super) fn shut(&self) {
        lock(&self.0.state).closed = true;
        self.0.places.close();
        self.0.many.close();
        if let Some(unpaid) = &self.0.unpaid {
            unpaid.close();
        }
    }

    /// Waits for the connections in use, then closes all of them.
    pub(super) async fn close(&self) {
        self.shut();
        loop {
            while let Some(idle) = self.pop() {
                farewell(idle.open).await;
            }
            if self.0.open.load(Ordering::Acquire) == 0 {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

impl Inner {
    /// Removes a place if there are more places than connections; returns whether it did. The
    /// caller holds one, without a connection.
    fn shrink(&self) -> bool {
        let mut state = lock(&self.state);
        // The caller's own is not open any more.
        let least = self.open.load(Ordering::Acquire).max(1);
        while state.places > least + 1 && self.places.forget_permits(1) == 1 {
            state.places -= 1;
        }
        if state.places <= least {
            return false;
        }
        state.places -= 1;
        true
    }

    /// Closes idle connections, those idle for longest first.
    fn give_back(&self, most: usize) {
        let given: Vec<Idle> = {
            let mut state = lock(&self.state);
            let count = state.idle.len().min(most);
            state.idle.drain(..count).collect()
        };
        part_with(given);
    }

    /// Closes connections that were idle for too long, and adds a place if the server has refused.
    fn tidy(&self) {
        let old: Vec<Idle> = {
            let mut state = lock(&self.state);
            if !state.closed && state.places < self.most {
                state.places += 1;
                self.places.add_permits(1);
            }
            let old = |idle: &Idle| clock::since(idle.since) > IDLE_LIFE;
            // They are in the order of their last use.
            let count = state.idle.iter().take_while(|idle| old(idle)).count();
            state.idle.drain(..count).collect()
        };
        part_with(old);
    }

    /// Returns a connection that is ready for the next caller.
    fn take_back(&self, open: Open) {
        let is_unwanted = self.is_of_a_thread && self.neighbours.is_tight();
        let mut state = lock(&self.state);
        if state.closed || is_unwanted {
            drop(state);
            let since = clock::monotonic();
            part_with(vec![Idle { open, since }]);
        } else {
            let since = clock::monotonic();
            state.idle.push(Idle { open, since });
        }
    }
}

/// Closes connections in the background.
fn part_with(idle: Vec<Idle>) {
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    for Idle { open, .. } in idle {
        runtime.spawn(farewell(open));
    }
}

async fn farewell(mut open: Open) {
    if let Some(connection) = open.connection.take() {
        let _ = tokio::time::timeout(CLOSE_LIMIT, connection.close()).await;
    }
}

/// Makes an idle connection ready for use, if possible.
async fn fit(idle: Idle) -> Option<Open> {
    let Idle { mut open, since } = idle;
    let plans = open.pool.neighbours.plans.load(Ordering::Acquire);
    let connection = open.connection.as_mut()?;
    if clock::since(since) > TRUSTED {
        connection.ping().await.ok()?;
    }
    if open.plans != plans {
        connection.clear_cached_statements().await.ok()?;
        open.plans = plans;
    }
    Some(open)
}

/// Whether the server is starting up: the driver's own pool waits for these errors, too.
fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code == "57P03"),
        _ => false,
    }
}

/// Waits for a place.
pub(super) async fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, sqlx::Error> {
    let place = Arc::clone(places).acquire_owned().await;
    place.map_err(|_| sqlx::Error::PoolClosed)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic runs under the locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection leased to one caller. If the caller is cancelled, the connection returns to the
/// pool once the work in progress on it has ended.
pub struct PgLease {
    open: Option<Open>,
    permit: Option<OwnedSemaphorePermit>,
    many: Option<OwnedSemaphorePermit>,
}

impl PgLease {
    fn new(open: Open, permit: OwnedSemaphorePermit) -> Self {
        Self {
            open: Some(open),
            permit: Some(permit),
            many: None,
        }
    }

    /// Ends the use of the connection, according to the result of the last statement on it. Returns
    /// whether its prepared statement was invalid: then a retry is worthwhile.
    pub fn finish<T>(self, result: &Result<T, sqlx::Error>) -> bool {
        match result {
            Ok(_) => {
                self.give_back();
                false
            }
            Err(error) if is_stale_plan(error) => {
                if let Some(open) = &self.open {
                    open.pool.neighbours.plans.fetch_add(1, Ordering::AcqRel);
                    open.pool.metrics.transaction_retried(Retry::StalePlan);
                }
                self.give_back();
                true
            }
            Err(sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)) => {
                self.discard();
                false
            }
            // The server may be about to close it, or the response was not read to the end:
            // dropped, it is checked first.
            Err(_) => false,
        }
    }
}

impl Pooled for PgLease {
    type Backend = Postgres;

    fn give_back(mut self) {
        if let Some(open) = self.open.take() {
            let pool = Arc::clone(&open.pool);
            pool.take_back(open);
        }
        drop(self.permit.take());
    }

    fn discard(mut self) {
        drop(self.open.take());
    }
}

impl Deref for PgLease {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        let open = self.open.as_ref();
        open.and_then(|open| open.connection.as_ref())
            .expect("present until the lease ends")
    }
}

impl DerefMut for PgLease {
    fn deref_mut(&mut self) -> &mut PgConnection {
        let open = self.open.as_mut();
        open.and_then(|open| open.connection.as_mut())
            .expect("present until the lease ends")
    }
}

impl Drop for PgLease {
    fn drop(&mut self) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        let permits = (self.permit.take(), self.many.take());
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            if let Some(connection) = open.connection.as_mut()
                && let Ok(Ok(())) = tokio::time::timeout(DRAIN_LIMIT, connection.ping()).await
            {
                let pool = Arc::clone(&open.pool);
                pool.take_back(open);
            }
            drop(permits);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Backend;
    use crate::platform::database::Pools;
    use crate::platform::database::statement::Parameters;
    use crate::platform::database::testing::TestDatabase;

    static SLEEP: Statement = Statement::new("SELECT pg_sleep($1)::text");

    #[tokio::test]
    async fn half_of_the_places_are_reserved_for_transactions() {
        let settings = [
            ("DATABASE_MAX_CONNECTIONS", "4"),
            ("REQUEST_TIMEOUT_MS", "60000"),
        ];
        let test = TestDatabase::with(Backend::Postgres, &settings).await;
        let Pools::Postgres { write, .. } = test.database.pools() else {
            unreachable!("just made");
        };
        let asleep = |seconds: f64| {
            let arguments = (seconds,).for_postgres().expect("encodes");
            write.fetch_all::<(String,)>(&SLEEP, arguments, Rows::Few)
        };
        // More statements than places, none of which ends before the transactions have begun.
        let statements = futures_util::future::join_all((0..8).map(|_| asleep(2.0)));
        let transactions = async {
            while write.size().in_use < 2 {
                tokio::task::yield_now().await;
            }
            let first = write.acquire().await.expect("a place");
            let second = write.acquire().await.expect("a place");
            assert_eq!(write.size().in_use, 4);
            first.give_back();
            second.give_back();
        };
        let statements = std::pin::pin!(statements);
        let transactions = std::pin::pin!(transactions);
        let done = futures_util::future::select(statements, transactions).await;
        assert!(matches!(done, futures_util::future::Either::Right(_)));
    }
}
