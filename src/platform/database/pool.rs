//! A pool that measures how long its connections are waited for.

use std::time::Instant;

use prometheus::Histogram;
use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool};

use crate::platform::metrics::{DatabasePool, Metrics, PoolSize, Retry};

/// Connections of one kind, for commands or for queries. A copy is the same pool.
pub struct Connections<DB: Database> {
    pool: Pool<DB>,
    waits: Histogram,
    metrics: Metrics,
}

impl<DB: Database> Clone for Connections<DB> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            waits: self.waits.clone(),
            metrics: self.metrics.clone(),
        }
    }
}

impl<DB: Database> Connections<DB> {
    pub(super) fn new(pool: Pool<DB>, kind: DatabasePool, metrics: &Metrics) -> Self {
        Self {
            pool,
            waits: metrics.pool_waits(kind),
            metrics: metrics.clone(),
        }
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn acquire(&self) -> Result<PoolConnection<DB>, sqlx::Error> {
        let begun = Instant::now();
        let connection = self.pool.acquire().await;
        self.waits.observe(begun.elapsed().as_secs_f64());
        connection
    }

    /// Whether the database asks to run a transaction again, which is counted.
    #[must_use]
    pub fn wants_retry(&self, error: &sqlx::Error) -> bool {
        let reason = retry(error);
        reason.inspect(|reason| self.metrics.transaction_retried(*reason));
        reason.is_some()
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

/// Why PostgreSQL asks to run a transaction again (appendix A of its manual).
fn retry(error: &sqlx::Error) -> Option<Retry> {
    match error.as_database_error()?.code()?.as_ref() {
        "40001" => Some(Retry::Serialization),
        "40P01" => Some(Retry::Deadlock),
        _ => None,
    }
}
