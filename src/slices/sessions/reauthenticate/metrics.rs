//! Metrics of reauthentications.

use prometheus::{IntCounterVec, Result};

use crate::platform::metrics::Metrics;

/// The outcomes of a reauthentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The session is fresh.
    Succeeded,
    /// The password is wrong.
    Invalid,
    /// Too many failures.
    Throttled,
    /// The session has ended, or the account has changed.
    Ended,
    /// Too many passwords are waiting.
    Overloaded,
}

impl Outcome {
    const ALL: [Self; 5] = [
        Self::Succeeded,
        Self::Invalid,
        Self::Throttled,
        Self::Ended,
        Self::Overloaded,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Invalid => "invalid",
            Self::Throttled => "throttled",
            Self::Ended => "ended",
            Self::Overloaded => "overloaded",
        }
    }
}

/// Counts reauthentications by their outcome.
pub struct Reauthentications(IntCounterVec);

impl Reauthentications {
    /// Registers the counter, and initialises it: a rate needs a zero to begin from.
    ///
    /// # Errors
    /// When the name is already registered.
    pub fn new(metrics: &Metrics) -> Result<Self> {
        let all = metrics.registrar().counters(
            "reauthentication_total",
            "Passwords that users in a session sent again, by their outcome.",
            &["outcome"],
        )?;
        for outcome in Outcome::ALL {
            all.with_label_values(&[outcome.as_str()]);
        }
        Ok(Self(all))
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
    Reauthentications::new(metrics).map(drop)
}
