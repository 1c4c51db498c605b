//! Metrics of refreshes.

use prometheus::{IntCounterVec, Result};

use crate::platform::metrics::Metrics;

/// The outcomes of a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The next token was made.
    Rotated,
    /// The same refresh again, by its key.
    Replayed,
    /// The same refresh again, within the grace.
    Grace,
    /// A late duplicate.
    Superseded,
    /// An old token: the session was ended.
    Reused,
    /// The session has ended.
    Ended,
    /// No token of this service.
    Invalid,
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Rotated,
        Self::Replayed,
        Self::Grace,
        Self::Superseded,
        Self::Reused,
        Self::Ended,
        Self::Invalid,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Rotated => "rotated",
            Self::Replayed => "replayed",
            Self::Grace => "grace",
            Self::Superseded => "superseded",
            Self::Reused => "reused",
            Self::Ended => "ended",
            Self::Invalid => "invalid",
        }
    }
}

/// Counts refreshes by their outcome.
pub struct Refreshes(IntCounterVec);

impl Refreshes {
    /// Registers the counter, and initialises it: a rate needs a zero to begin from.
    ///
    /// # Errors
    /// When the name is already registered.
    pub fn new(metrics: &Metrics) -> Result<Self> {
        let refreshes = metrics.registrar().shared_counters(
            "refresh_total",
            "Refreshes of sessions, by their outcome. `reused` means that two held tokens of a session.",
            &["outcome"],
        )?;
        for outcome in Outcome::ALL {
            refreshes.with_label_values(&[outcome.as_str()]);
        }
        Ok(Self(refreshes))
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
    Refreshes::new(metrics).map(drop)
}
