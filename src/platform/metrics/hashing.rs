//! Metrics of password hashing.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Result};

use super::registrar::{Registrar, SECONDS};
use super::{Metrics, integer};

pub(super) struct Hashing {
    waiting: IntGauge,
    in_use: IntGauge,
    lanes: IntGauge,
    batch: Histogram,
    wait: Histogram,
    class_wait: HistogramVec,
    duration: Histogram,
    foreign_waiting: IntGauge,
    foreign_duration: Histogram,
    refused: IntCounterVec,
    abandoned: IntCounter,
    again: IntCounterVec,
}

/// The classes of work, by the labels of `hashing::Class`.
const CLASSES: [&str; 4] = ["known", "login", "signup", "account"];

/// What became of a stored hash of a lower cost, after its password was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashedAgain {
    /// The account has a hash of the configured cost.
    Done,
    /// Other passwords had the lanes.
    Busy,
    /// The account has another hash by now.
    Changed,
    /// It failed.
    Failed,
}

impl HashedAgain {
    const ALL: [Self; 4] = [Self::Done, Self::Busy, Self::Changed, Self::Failed];

    const fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Busy => "busy",
            Self::Changed => "changed",
            Self::Failed => "failed",
        }
    }
}

/// Why a password was not hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashRefused {
    /// Too many were waiting.
    QueueFull,
    /// The queue was contended, and the client's network had used its share of it.
    Share,
    /// It would have missed its deadline, or did.
    Deadline,
    /// Either was detected before the request was parsed.
    Early,
}

impl HashRefused {
    const ALL: [Self; 4] = [Self::QueueFull, Self::Share, Self::Deadline, Self::Early];

    const fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Share => "share",
            Self::Deadline => "deadline",
            Self::Early => "early",
        }
    }
}

impl Hashing {
    pub(super) fn new(registrar: &Registrar<'_>) -> Result<Self> {
        Ok(Self {
            waiting: registrar.gauge(
                "password_hash_queue_depth",
                "Passwords waiting for a lane.",
            )?,
            in_use: registrar.gauge("password_hash_lanes_in_use", "Password hashes in progress.")?,
            lanes: registrar.gauge(
                "password_hash_lanes",
                "Password hashes that can be in progress: BCRYPT_THREADS times BCRYPT_LANES.",
            )?,
            batch: registrar.histogram(
                "password_hash_batch_size",
                "Hashes advanced together in a slice.",
                &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
            )?,
            wait: registrar.histogram(
                "password_hash_wait_seconds",
                "Time a password waited for its lane.",
                &SECONDS,
            )?,
            class_wait: registrar.histograms(
                "hash_wait_seconds",
                "Time a password waited for its lane, by class: known (logins from known devices), login, signup, account (changes of an account).",
                &["class"],
            )?,
            duration: registrar.histogram(
                "password_hash_duration_seconds",
                "Time from the first slice of a password hash to its last.",
                &SECONDS,
            )?,
            foreign_waiting: registrar.gauge(
                "password_hash_foreign_queue_depth",
                "Passwords waiting to be verified against imported hashes of Argon2, scrypt or PBKDF2.",
            )?,
            foreign_duration: registrar.histogram(
                "password_hash_foreign_duration_seconds",
                "Time that a password took to verify against an imported hash of Argon2, scrypt or PBKDF2.",
                &SECONDS,
            )?,
            refused: registrar.counters(
                "password_hash_rejected_total",
                "Passwords rejected: queue_full, deadline (not expected in time), share (the quota of the client network, or a place lost to one with less), early (before the password was examined).",
                &["reason"],
            )?,
            abandoned: registrar.counter(
                "password_hash_abandoned_total",
                "Passwords abandoned, waiting or half hashed, because no request waited for them any \
                 more.",
            )?,
            again: registrar.counters(
                "password_hashed_again_total",
                "Stored hashes of a lower cost than BCRYPT_COST, or of another format, whose password was right: done (replaced), busy (no lane was free), changed (the account has another hash by now), failed. All but done are tried again at the next login.",
                &["outcome"],
            )?,
        })
    }

    /// Initialises series that must exist from the start: a rate needs a zero to begin from.
    pub(super) fn begin(&self) {
        for reason in HashRefused::ALL {
            self.refused.with_label_values(&[reason.label()]);
        }
        for outcome in HashedAgain::ALL {
            self.again.with_label_values(&[outcome.label()]);
        }
        for class in CLASSES {
            self.class_wait.with_label_values(&[class]);
        }
    }
}

impl Metrics {
    /// Records the maximum of hashes in progress.
    pub fn lanes(&self, count: usize) {
        self.0.hashing.lanes.set(integer(count));
    }

    /// Records how many passwords wait for a lane.
    pub fn hashes_waiting(&self, count: usize) {
        self.0.hashing.waiting.set(integer(count));
    }

    /// Records how many lanes are in use, over all threads.
    pub fn lanes_in_use(&self, count: usize) {
        self.0.hashing.in_use.set(integer(count));
    }

    /// Counts a slice that advanced this many hashes.
    pub fn hash_batch(&self, lanes: usize) {
        #[expect(clippy::cast_precision_loss, reason = "eight at most")]
        self.0.hashing.batch.observe(lanes as f64);
    }

    /// Records how long a password of a class waited for its lane. The class is one of those that
    /// have series from the start.
    pub fn hash_waited(&self, class: &str, time: Duration) {
        let seconds = time.as_secs_f64();
        self.0.hashing.wait.observe(seconds);
        let class_wait = &self.0.hashing.class_wait;
        class_wait.with_label_values(&[class]).observe(seconds);
    }

    /// Records how long a hash took, from its first slice to its last.
    pub fn hash_took(&self, time: Duration) {
        self.0.hashing.duration.observe(time.as_secs_f64());
    }

    /// Records how many passwords wait to be verified against hashes that are not bcrypt.
    pub fn foreign_hashes_waiting(&self, count: usize) {
        self.0.hashing.foreign_waiting.set(integer(count));
    }

    /// Records how long such a verification took.
    pub fn foreign_hash_took(&self, time: Duration) {
        let duration = &self.0.hashing.foreign_duration;
        duration.observe(time.as_secs_f64());
    }

    /// Counts a password that was not hashed.
    pub fn hash_refused(&self, reason: HashRefused) {
        let refused = &self.0.hashing.refused;
        refused.with_label_values(&[reason.label()]).inc();
    }

    /// Counts passwords that no request waited for any more.
    pub fn hashes_abandoned(&self, count: usize) {
        self.0
            .hashing
            .abandoned
            .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Counts a stored hash of a lower cost whose password was right.
    pub fn hashed_again(&self, outcome: HashedAgain) {
        let again = &self.0.hashing.again;
        again.with_label_values(&[outcome.label()]).inc();
    }
}
