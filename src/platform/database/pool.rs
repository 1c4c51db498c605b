//! A pool that measures how long its connections are waited for.

use prometheus::Histogram;
use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool};

use super::is_stale_plan;
use crate::platform::metrics::{DatabasePool, Metrics, PoolSize, Retry};
use crate::platform::telemetry::spans::within_fallibly;

/// Connections to SQLite of one kind, for commands or for queries. A copy is the same pool.
pub struct Connections<DB: Database> {
    pool: Pool<DB>,
    waits: Histogram,
}

impl<DB: Database> Clone for Connections<DB> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            waits: self.waits.clone(),
        }
    }
}

impl<DB: Database> Connections<DB> {
    pub(super) fn new(pool: Pool<DB>, kind: DatabasePool, metrics: &Metrics) -> Self {
        Self {
            pool,
            waits: metrics.pool_waits(kind),
        }
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn acquire(&self) -> Result<PoolConnection<DB>, sqlx::Error> {
        // Dropped, it observes: also where nobody waits any more.
        let _waiting = self.waits.start_timer();
        // Boxed: it is large, and within every other future.
        within_fallibly("connection", Box::pin(self.pool.acquire())).await
    }

    pub(super) fn size(&self) -> PoolSize {
        let idle = self.pool.num_idle();
        PoolSize {
            idle,
            in_use: usize::try_from(self.pool.size())
                .unwrap_or(usize::MAX)
                .saturating_sub(idle),
            most: usize::try_from(self.pool.options().get_max_connections()).unwrap_or(usize::MAX),
        }
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

/// Why a transaction on PostgreSQL is worth another try (appendix A of its manual).
#[must_use]
pub fn wants_retry(error: &sqlx::Error) -> Option<Retry> {
    match error.as_database_error()?.code()?.as_ref() {
        "40001" => Some(Retry::Serialization),
        "40P01" => Some(Retry::Deadlock),
        _ if is_stale_plan(error) => Some(Retry::StalePlan),
        _ => None,
    }
}
