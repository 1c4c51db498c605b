//! Metrics of the dependencies: the database pools, Redis, the readiness checks.

use prometheus::{Histogram, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Result};

use super::registrar::{Registrar, SECONDS};
use super::{Metrics, integer};

/// The buckets of reads per statement.
const READS: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

pub(super) struct Dependencies {
    connections: IntGaugeVec,
    connections_max: IntGaugeVec,
    wait: HistogramVec,
    reads_together: Histogram,
    retries: IntCounterVec,
    redis_connections: IntGaugeVec,
    redis_connections_max: IntGauge,
    redis_wait: Histogram,
    breakers: IntGaugeVec,
    checks: IntGaugeVec,
    ready: IntGauge,
}

/// A pool of connections to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabasePool {
    /// For commands.
    Write,
    /// For queries.
    Read,
}

impl DatabasePool {
    const fn label(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

/// Why a transaction is retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// A deadlock with another transaction.
    Deadlock,
    /// It could not be serialized with another transaction.
    Serialization,
    /// Its prepared statements are invalid: the schema has changed.
    StalePlan,
}

impl Retry {
    const ALL: [Self; 3] = [Self::Deadlock, Self::Serialization, Self::StalePlan];

    const fn label(self) -> &'static str {
        match self {
            Self::Deadlock => "deadlock",
            Self::Serialization => "serialization",
            Self::StalePlan => "stale_plan",
        }
    }
}

/// The number of connections of a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolSize {
    /// Idle connections.
    pub idle: usize,
    /// Connections in use.
    pub in_use: usize,
    /// The maximum.
    pub most: usize,
}

impl Dependencies {
    pub(super) fn new(registrar: &Registrar<'_>) -> Result<Self> {
        Ok(Self {
            connections: registrar.gauges(
                "database_pool_connections",
                "Open connections to the database: of the pool write (commands) or read (queries), idle or in_use.",
                &["pool", "state"],
            )?,
            connections_max: registrar.gauges(
                "database_pool_connections_max",
                "Maximum number of connections to the database in a pool.",
                &["pool"],
            )?,
            wait: registrar.histograms(
                "database_pool_wait_seconds",
                "Time to get a connection to the database.",
                &["pool"],
            )?,
            reads_together: registrar.histogram(
                "database_reads_per_statement",
                "Reads of one row by its key that shared a statement, as they waited at the same time.",
                &READS,
            )?,
            retries: registrar.counters(
                "database_transaction_retries_total",
                "Retries on PostgreSQL: transactions for deadlock or serialization; for stale_plan, after a change of the schema, queries too.",
                &["reason"],
            )?,
            redis_connections: registrar.gauges(
                "redis_pool_connections",
                "Open connections to Redis, idle or in_use.",
                &["state"],
            )?,
            redis_connections_max: registrar.gauge(
                "redis_pool_connections_max",
                "Maximum number of connections to Redis in the pool; 0 without Redis.",
            )?,
            redis_wait: registrar.histogram(
                "redis_pool_wait_seconds",
                "Time to get a connection to Redis, or to fail to get one.",
                &SECONDS,
            )?,
            breakers: registrar.gauges(
                "circuit_breaker_open",
                "1 while the circuit breaker of a dependency is open because it failed.",
                &["dependency"],
            )?,
            checks: registrar.gauges(
                "readiness_check",
                "1 if a check of /ready passed when it last ran, else 0.",
                &["check"],
            )?,
            ready: registrar.gauge(
                "ready",
                "1 once the service serves, 0 if the last /ready reported that it was not ready.",
            )?,
        })
    }

    /// Initialises series that must exist from the start: a rate needs a zero to begin from.
    pub(super) fn begin(&self) {
        for pool in [DatabasePool::Write, DatabasePool::Read] {
            self.wait.with_label_values(&[pool.label()]);
        }
        for reason in Retry::ALL {
            self.retries.with_label_values(&[reason.label()]);
        }
        for state in ["idle", "in_use"] {
            self.redis_connections.with_label_values(&[state]);
        }
        self.breakers.with_label_values(&["redis"]);
    }
}

impl Metrics {
    /// The histogram of waits for a pool's connections.
    #[must_use]
    pub fn pool_waits(&self, pool: DatabasePool) -> Histogram {
        self.0.dependencies.wait.with_label_values(&[pool.label()])
    }

    /// The histogram of reads per statement.
    #[must_use]
    pub fn reads_together(&self) -> Histogram {
        self.0.dependencies.reads_together.clone()
    }

    /// Records the number of connections of a pool.
    pub fn pool_size(&self, pool: DatabasePool, size: PoolSize) {
        let (pool, gauges) = (pool.label(), &self.0.dependencies);
        let connections = |state| gauges.connections.with_label_values(&[pool, state]);
        connections("idle").set(integer(size.idle));
        connections("in_use").set(integer(size.in_use));
        let most = gauges.connections_max.with_label_values(&[pool]);
        most.set(integer(size.most));
    }

    /// Counts a retried transaction.
    pub fn transaction_retried(&self, reason: Retry) {
        let retries = &self.0.dependencies.retries;
        retries.with_label_values(&[reason.label()]).inc();
    }

    /// The histogram of waits for a connection to Redis.
    #[must_use]
    pub fn redis_waits(&self) -> Histogram {
        self.0.dependencies.redis_wait.clone()
    }

    /// Records the number of connections to Redis.
    pub fn redis_pool_size(&self, size: PoolSize) {
        let gauges = &self.0.dependencies;
        let connections = |state| gauges.redis_connections.with_label_values(&[state]);
        connections("idle").set(integer(size.idle));
        connections("in_use").set(integer(size.in_use));
        gauges.redis_connections_max.set(integer(size.most));
    }

    /// Records whether the circuit breaker of Redis is open.
    pub fn redis_breaker(&self, open: bool) {
        let breaker = self.0.dependencies.breakers.with_label_values(&["redis"]);
        breaker.set(i64::from(open));
    }

    /// Records whether a readiness check passed.
    pub fn readiness_check(&self, check: &'static str, holds: bool) {
        let check = self.0.dependencies.checks.with_label_values(&[check]);
        check.set(i64::from(holds));
    }

    /// Records whether the service was ready.
    pub fn readiness(&self, ready: bool) {
        self.0.dependencies.ready.set(i64::from(ready));
    }
}
