//! Clock and randomness. Other modules receive them as dependencies, so that a test can replace
//! them.
//!
//! Data that expires uses a [`Clock`], which tests can move: records, rate limits, and reports that
//! are cached for a second. Deadlines are kept by timers, which follow only the system's time; they
//! and measurements use [`monotonic`]. No other module reads the system clock.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use rand::Rng;
use uuid::Uuid;

/// A source of time.
pub trait Clock: Send + Sync {
    /// The current time, in whole microseconds: the precision of both databases.
    fn now(&self) -> DateTime<Utc>;

    /// A monotonic instant, to compare with others of this process.
    fn instant(&self) -> Instant;
}

/// The system's monotonic clock.
#[must_use]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// The time elapsed since `begun`, by [`monotonic`].
#[must_use]
pub fn since(begun: Instant) -> Duration {
    monotonic().saturating_duration_since(begun)
}

/// A source of random bytes for salts and ids.
pub trait Randomness: Send + Sync {
    /// Sixteen unpredictable bytes.
    fn bytes(&self) -> [u8; 16];
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads it")]
    fn now(&self) -> DateTime<Utc> {
        let now = Utc::now();
        now.duration_trunc(TimeDelta::microseconds(1))
            .unwrap_or(now)
    }

    fn instant(&self) -> Instant {
        monotonic()
    }
}

/// The system's clock, which a test can move ahead.
#[derive(Debug, Default)]
pub struct SettableClock {
    ahead: Mutex<Duration>,
}

impl SettableClock {
    /// Moves the clock further ahead.
    pub fn advance(&self, by: Duration) {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }

    fn ahead(&self) -> Duration {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for SettableClock {
    fn now(&self) -> DateTime<Utc> {
        SystemClock.now() + self.ahead()
    }

    fn instant(&self) -> Instant {
        monotonic() + self.ahead()
    }
}

/// A generator per thread, seeded by the system (`ChaCha` with twelve rounds, reseeded after each
/// 64 KiB): reading from the system costs a call into it for every id.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        rand::rng().fill_bytes(&mut bytes);
        bytes
    }
}

/// A `UUIDv7` (RFC 9562, section 5.7) of this time.
#[must_use]
pub fn uuid_v7(at: DateTime<Utc>, randomness: &dyn Randomness) -> Uuid {
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    let bytes = randomness.bytes();
    let mut random = [0; 10];
    random.copy_from_slice(&bytes[..10]);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_carry_their_moment_and_differ() {
        let now = SystemClock.now();
        let (a, b) = (
            uuid_v7(now, &SystemRandomness),
            uuid_v7(now, &SystemRandomness),
        );
        assert_ne!(a, b);
        assert_eq!(a.get_version_num(), 7);
        assert_eq!(a.as_bytes()[..6], b.as_bytes()[..6]);
        assert_eq!(now.timestamp_subsec_nanos() % 1000, 0);
    }
}
