//! The figures of signups and of their idempotency keys.

use chrono::{DateTime, Utc};
use prometheus::{IntCounter, IntCounterVec, IntGauge, Result};

use super::http::{ABANDONED, status_text};
use super::make::Make;
use super::{InFlight, Metrics};

/// What a signup is answered with.
const STATUSES: [u16; 11] = [201, 400, 408, 409, 413, 415, 422, 429, ABANDONED, 500, 503];

pub(super) struct Signups {
    requests: IntCounterVec,
    duplicates: IntCounter,
    keyed: IntCounterVec,
    replays: IntCounterVec,
    keys_in_flight: IntGauge,
    purged: IntCounter,
    purge_completed: IntGauge,
}

/// What a request with an idempotency key was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdempotencyResult {
    /// What came of executing it.
    First,
    /// The answer of the first.
    Replayed,
    /// That the key was used with another request, now or too often before.
    Mismatch,
    /// That the first did not end in time.
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

/// Where an answer that is given again was found.
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

impl Signups {
    pub(super) fn new(make: &Make<'_>) -> Result<Self> {
        Ok(Self {
            requests: make.counters(
                "signup_requests_total",
                "Answered signups, by the status of the answer.",
                &["status"],
            )?,
            duplicates: make.counter(
                "signup_duplicate_attempts_total",
                "Signups for an address that had an account.",
            )?,
            keyed: make.counters(
                "idempotency_requests_total",
                "Requests with an idempotency key, by what came of them.",
                &["result"],
            )?,
            replays: make.counters(
                "idempotency_replays_total",
                "Answers given again, by where they were found.",
                &["tier"],
            )?,
            keys_in_flight: make.gauge(
                "idempotency_keys_in_flight",
                "Idempotency keys that a request of this process works on.",
            )?,
            purged: make.counter(
                "idempotency_purged_records_total",
                "Records of idempotency keys that were removed because they had expired.",
            )?,
            purge_completed: make.gauge(
                "idempotency_purge_last_completed_timestamp_seconds",
                "When a round of the purge last left nothing that had expired; at first, when \
                 the purge began.",
            )?,
        })
    }

    /// Series that are there from the start: a rate needs a zero to begin from.
    pub(super) fn begin(&self) {
        for status in STATUSES {
            self.requests.with_label_values(&[status_text(status)]);
        }
        for result in IdempotencyResult::ALL {
            self.keyed.with_label_values(&[result.label()]);
        }
        for tier in [ReplayTier::Redis, ReplayTier::Database] {
            self.replays.with_label_values(&[tier.label()]);
        }
    }
}

impl Metrics {
    /// Counts an answered signup.
    pub fn signup(&self, status: u16) {
        let status = status_text(status);
        self.0.signups.requests.with_label_values(&[status]).inc();
    }

    /// Counts a signup for an address that had an account.
    pub fn duplicate_signup(&self) {
        self.0.signups.duplicates.inc();
    }

    /// Counts a request with an idempotency key, once it is answered.
    pub fn idempotency(&self, result: IdempotencyResult) {
        let keyed = &self.0.signups.keyed;
        keyed.with_label_values(&[result.label()]).inc();
    }

    /// Counts a request that got the answer of the first.
    pub fn replayed(&self, tier: ReplayTier) {
        let replays = &self.0.signups.replays;
        replays.with_label_values(&[tier.label()]).inc();
        self.idempotency(IdempotencyResult::Replayed);
    }

    /// Counts a key as in flight until the guard is dropped.
    #[must_use]
    pub fn key_begins(&self) -> InFlight {
        InFlight::new(&self.0.signups.keys_in_flight)
    }

    /// Counts records that were removed.
    pub fn records_purged(&self, count: u64) {
        self.0.signups.purged.inc_by(count);
    }

    /// Notes that nothing was left at this moment that had expired.
    pub fn purge_completed(&self, now: DateTime<Utc>) {
        self.0.signups.purge_completed.set(now.timestamp());
    }
}
