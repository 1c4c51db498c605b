//! Metrics of logins.

use prometheus::{IntCounterVec, Result};

use crate::platform::metrics::Metrics;

/// The outcomes of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A session began.
    Succeeded,
    /// The session of an earlier attempt with the same key.
    Replayed,
    /// The address has no account, or another password.
    Invalid,
    /// Too many failures.
    Throttled,
    /// The account is suspended.
    Suspended,
    /// The address has not been verified.
    Unverified,
    /// Too many passwords are waiting.
    Overloaded,
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Succeeded,
        Self::Replayed,
        Self::Invalid,
        Self::Throttled,
        Self::Suspended,
        Self::Unverified,
        Self::Overloaded,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Replayed => "replayed",
            Self::Invalid => "invalid",
            Self::Throttled => "throttled",
            Self::Suspended => "suspended",
            Self::Unverified => "unverified",
            Self::Overloaded => "overloaded",
        }
    }
}

/// Counts logins by their outcome.
pub struct Logins(IntCounterVec);

impl Logins {
    /// Registers the counter, and initialises it: a rate needs a zero to begin from.
    ///
    /// # Errors
    /// When the name is already registered.
    pub fn new(metrics: &Metrics) -> Result<Self> {
        let logins = metrics.registrar().shared_counters(
            "login_total",
            "Logins, by their outcome. `invalid` is a wrong password as well as an unknown address.",
            &["outcome"],
        )?;
        for outcome in Outcome::ALL {
            logins.with_label_values(&[outcome.as_str()]);
        }
        Ok(Self(logins))
    }

    /// Counts one.
    pub fn count(&self, outcome: Outcome) {
        self.0.with_label_values(&[outcome.as_str()]).inc();
    }
}

/// Registers all of these.
///
/// # Errors
/// When a name is already registered.
pub fn register(metrics: &Metrics) -> Result<()> {
    Logins::new(metrics).map(drop)
}
