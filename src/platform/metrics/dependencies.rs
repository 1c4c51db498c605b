//! The figures of what the service stands on: the databases' pools, Redis, the checks.

use prometheus::{Histogram, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Result};

use super::registrar::{Registrar, SECONDS};
use super::{Metrics, integer};

pub(super) struct Dependencies {
    connections: IntGaugeVec,
    connections_max: IntGaugeVec,
    wait: HistogramVec,
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

/// Why a transaction is run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It and another waited for each other.
    Deadlock,
    /// It could not be put in an order with another.
    Serialization,
    /// What was prepared for it is void: the schema has changed.
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

/// How many connections a pool has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolSize {
    /// That wait for work.
    pub idle: usize,
    /// That have work.
    pub in_use: usize,
    /// That it may have.
    pub most: usize,
}

impl Dependencies {
    pub(super) fn new(registrar: &Registrar<'_>) -> Result<Self> {
        Ok(Self {
            connections: registrar.gauges(
                "database_pool_connections",
                "Connections to the database.",
                &["pool", "state"],
            )?,
            connections_max: registrar.gauges(
                "database_pool_connections_max",
                "Connections to the database that a pool may have.",
                &["pool"],
            )?,
            wait: registrar.histograms(
                "database_pool_wait_seconds",
                "Time to get a connection to the database.",
                &["pool"],
            )?,
            retries: registrar.counters(
                "database_transaction_retries_total",
                "Transactions that the database asked to run again.",
                &["reason"],
            )?,
            redis_connections: registrar.gauges(
                "redis_pool_connections",
                "Connections to Redis.",
                &["state"],
            )?,
            redis_connections_max: registrar.gauge(
                "redis_pool_connections_max",
                "Connections to Redis that the pool may have; 0 without Redis.",
            )?,
            redis_wait: registrar.histogram(
                "redis_pool_wait_seconds",
                "Time to get a connection to Redis, or not to.",
                &SECONDS,
            )?,
            breakers: registrar.gauges(
                "circuit_breaker_open",
                "1 while a dependency is left alone because it failed.",
                &["dependency"],
            )?,
            checks: registrar.gauges(
                "readiness_check",
                "1 where a check of /ready held when it was last asked, else 0.",
                &["check"],
            )?,
            ready: registrar.gauge(
                "ready",
                "1 once the service serves, 0 where /ready said otherwise when it was last asked.",
            )?,
        })
    }

    /// Series that are there from the start: a rate needs a zero to begin from.
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
    /// Where the waits for a pool's connections are counted.
    #[must_use]
    pub fn pool_waits(&self, pool: DatabasePool) -> Histogram {
        self.0.dependencies.wait.with_label_values(&[pool.label()])
    }

    /// Notes how many connections a pool has.
    pub fn pool_size(&self, pool: DatabasePool, size: PoolSize) {
        let (pool, gauges) = (pool.label(), &self.0.dependencies);
        let connections = |state| gauges.connections.with_label_values(&[pool, state]);
        connections("idle").set(integer(size.idle));
        connections("in_use").set(integer(size.in_use));
        let most = gauges.connections_max.with_label_values(&[pool]);
        most.set(integer(size.most));
    }

    /// Counts a transaction that is run again.
    pub fn transaction_retried(&self, reason: Retry) {
        let retries = &self.0.dependencies.retries;
        retries.with_label_values(&[reason.label()]).inc();
    }

    /// Where the waits for a connection to Redis are counted.
    #[must_use]
    pub fn redis_waits(&self) -> Histogram {
        self.0.dependencies.redis_wait.clone()
    }

    /// Notes how many connections to Redis there are.
    pub fn redis_pool_size(&self, size: PoolSize) {
        let gauges = &self.0.dependencies;
        let connections = |state| gauges.redis_connections.with_label_values(&[state]);
        connections("idle").set(integer(size.idle));
        connections("in_use").set(integer(size.in_use));
        gauges.redis_connections_max.set(integer(size.most));
    }

    /// Notes whether Redis is left alone.
    pub fn redis_breaker(&self, open: bool) {
        let breaker = self.0.dependencies.breakers.with_label_values(&["redis"]);
        breaker.set(i64::from(open));
    }

    /// Notes whether a check of readiness held.
    pub fn readiness_check(&self, check: &'static str, holds: bool) {
        let check = self.0.dependencies.checks.with_label_values(&[check]);
        check.set(i64::from(holds));
    }

    /// Notes whether the service was ready.
    pub fn readiness(&self, ready: bool) {
        self.0.dependencies.ready.set(i64::from(ready));
    }
}
