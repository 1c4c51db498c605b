//! Metrics of breached passwords.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Result};

use super::filter::Filter;
use crate::platform::metrics::Metrics;

/// What a password that was looked up is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// A new one, which is refused.
    New,
    /// That of a login, which succeeds.
    Login,
}

impl Of {
    const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Login => "login",
        }
    }
}

/// The metrics of breached passwords.
#[derive(Clone)]
pub struct BreachedMetrics {
    found: IntCounterVec,
    passwords: IntGauge,
    date: IntGauge,
    unusable: IntGauge,
    failures: IntCounter,
    look_up_failures: IntCounter,
}

impl BreachedMetrics {
    /// Registers them, and initialises the counters: a rate needs a zero to begin from.
    ///
    /// # Errors
    /// When a name is already registered.
    pub fn new(metrics: &Metrics) -> Result<Self> {
        let registrar = metrics.registrar();
        let all = Self {
            found: registrar.counters(
                "breached_passwords_total",
                "Passwords that were in the list of breached ones: new ones, which were refused, and those of logins.",
                &["of"],
            )?,
            passwords: registrar.gauge(
                "breached_list_passwords",
                "Passwords in the list of breached ones that is in use.",
            )?,
            date: registrar.gauge(
                "breached_list_date_seconds",
                "The date of that list, in seconds since 1970.",
            )?,
            unusable: registrar.gauge(
                "breached_list_unusable",
                "1 while the file of BREACHED_PASSWORDS_FILE cannot be used: the list before is, or none.",
            )?,
            failures: registrar.counter(
                "breached_list_failures_total",
                "Failed attempts to replace the list of breached passwords.",
            )?,
            look_up_failures: registrar.counter(
                "breached_look_up_failures_total",
                "Passwords that were not looked up, as the list could not be read from the disk; they were not refused.",
            )?,
        };
        for of in [Of::New, Of::Login] {
            all.found.with_label_values(&[of.as_str()]);
        }
        Ok(all)
    }

    pub(super) fn found(&self, of: Of) {
        self.found.with_label_values(&[of.as_str()]).inc();
    }

    pub(super) fn uses(&self, filter: &Filter) {
        self.passwords
            .set(i64::try_from(filter.passwords()).unwrap_or(i64::MAX));
        self.date.set(filter.about().date.timestamp());
    }

    pub(super) fn keeps(&self) {
        self.failures.inc();
    }

    pub(super) fn look_up_failed(&self) {
        self.look_up_failures.inc();
    }

    pub(super) fn is_unusable(&self, is_unusable: bool) {
        self.unusable.set(is_unusable.into());
    }
}
