//! Metrics of access: requests that were denied, and the age of what decides.

use std::time::Duration;

use prometheus::{IntCounterVec, IntGauge, Result};

use super::Metrics;
use super::registrar::Registrar;

/// Why requests are denied.
const REASONS: [&str; 8] = [
    "missing",
    "expired",
    "revoked",
    "erased",
    "invalid",
    "not_permitted",
    "foreign",
    "not_fresh",
];

pub(super) struct Access {
    denied: IntCounterVec,
    feed_age: IntGauge,
    key_age: IntGauge,
}

impl Access {
    pub(super) fn new(registrar: &Registrar<'_>) -> Result<Self> {
        Ok(Self {
            denied: registrar.counters(
                "access_denied_total",
                "Requests that were denied before they began: missing (no credential), expired, revoked, erased, invalid, not_permitted (403), foreign (404), not_fresh (the password was sent too long ago).",
                &["route", "reason"],
            )?,
            feed_age: registrar.gauge(
                "revocation_feed_age_seconds",
                "Time since the revocations were last read. Above 10, protected requests ask the database.",
            )?,
            key_age: registrar.gauge(
                "signing_key_age_seconds",
                "How long the key that signs access tokens has been signing; 0 if there is none.",
            )?,
        })
    }
}

impl Metrics {
    /// Initialises the counters of a protected route: a rate needs a zero to begin from.
    pub fn may_deny(&self, route: &'static str) {
        for reason in REASONS {
            self.0.access.denied.with_label_values(&[route, reason]);
        }
    }

    /// Counts a request that was denied. `route` is the pattern that matched, never the path.
    pub fn access_denied(&self, route: &'static str, reason: &'static str) {
        let denied = self.0.access.denied.with_label_values(&[route, reason]);
        denied.inc();
    }

    /// Records the time since the revocations were last read.
    pub fn revocation_feed_age(&self, age: Duration) {
        self.0.access.feed_age.set(seconds(age));
    }

    /// Records how long the active key has been signing, if there is one.
    pub fn signing_key_age(&self, age: Option<Duration>) {
        self.0.access.key_age.set(seconds(age.unwrap_or_default()));
    }
}

fn seconds(age: Duration) -> i64 {
    i64::try_from(age.as_secs()).unwrap_or(i64::MAX)
}
