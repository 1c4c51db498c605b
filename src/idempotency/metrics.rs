//! Metrics of idempotency keys.

use chrono::{DateTime, Utc};
use prometheus::{IntCounter, IntCounterVec, IntGauge, Result};

use crate::platform::metrics::{InFlight, Metrics};

/// Counts keys, their replays and the removal of their records.
pub struct KeyMetrics {
    requests: IntCounterVec,
    replays: IntCounterVec,
    in_flight: IntGauge,
    purged: IntCounter,
    purge_completed: IntGauge,
}

/// The outcome of a request with an idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdempotencyResult {
    /// It was executed.
    First,
    /// It got the outcome of the first.
    Replayed,
    /// The key was used with another request, now or too often before.
    Mismatch,
    /// The first did not end in time.
    InFlight,
}

impl IdempotencyResult {
    const ALL: [Self; 4] = [Self::First, Self::Replayed, Self::Mismatch, Self::InFlight];

    const fn label(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Replayed => "replayed",
            Self::Mismatch => "mismatch",
            Self::InFlight => "in_flight",
        }
    }
}

/// Where a replayed outcome was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayTier {
    /// In Redis.
    Redis,
    /// In its record.
    Database,
}

impl ReplayTier {
    const fn label(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Database => "database",
        }
    }
}

impl KeyMetrics {
    /// Registers them, and initialises the series that must exist from the start: a rate needs a
    /// zero to begin from.
    ///
    /// # Errors
    /// When a name is already registered.
    pub fn new(metrics: &Metrics) -> Result<Self> {
        let registrar = metrics.registrar();
        let own = Self {
            requests: registrar.counters(
                "idempotency_requests_total",
                "Requests with an idempotency key, by result: first (executed), replayed, mismatch (other values, or exhausted), in_flight (409 request-in-progress).",
                &["result"],
            )?,
            replays: registrar.counters(
                "idempotency_replays_total",
                "Replayed outcomes, by where they were found: redis, database.",
                &["tier"],
            )?,
            in_flight: registrar.gauge(
                "idempotency_keys_in_flight",
                "Idempotency keys in use by a running request of this process.",
            )?,
            purged: registrar.counter(
                "idempotency_purged_records_total",
                "Expired records of idempotency keys that were removed.",
            )?,
            purge_completed: registrar.gauge(
                "idempotency_purge_last_completed_timestamp_seconds",
                "When a round of the purge last left no expired record; at first, when \
                 the purge began.",
            )?,
        };
        for result in IdempotencyResult::ALL {
            own.requests.with_label_values(&[result.label()]);
        }
        for tier in [ReplayTier::Redis, ReplayTier::Database] {
            own.replays.with_label_values(&[tier.label()]);
        }
        Ok(own)
    }

    /// Counts a request with a key, once it has a response.
    pub fn ended(&self, result: IdempotencyResult) {
        self.requests.with_label_values(&[result.label()]).inc();
    }

    /// Counts a request that got the outcome of the first.
    pub fn replayed(&self, tier: ReplayTier) {
        self.replays.with_label_values(&[tier.label()]).inc();
        self.ended(IdempotencyResult::Replayed);
    }

    /// Counts a key as in flight until the guard is dropped.
    #[must_use]
    pub fn begins(&self) -> InFlight {
        InFlight::new(&self.in_flight)
    }

    /// Counts records that were removed.
    pub fn records_purged(&self, count: u64) {
        self.purged.inc_by(count);
    }

    /// Records that no expired record was left at this time.
    pub fn purge_completed(&self, now: DateTime<Utc>) {
        self.purge_completed.set(now.timestamp());
    }
}
