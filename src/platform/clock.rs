//! Clock and randomness. Everything else is handed these, so that a test can hand it others.
//!
//! What lives for a while asks a [`Clock`], which tests move: records, rate limits, reports that count
//! for a second. Deadlines are kept by timers, which only the system's time
//! ends; they and measurements ask [`monotonic`]. Nothing asks the system elsewhere.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use rand::Rng;
use uuid::Uuid;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The time now, in whole microseconds: what both databases keep.
    fn now(&self) -> DateTime<Utc>;

    /// A moment of a clock that never goes back, to compare with others of this process.
    fn instant(&self) -> Instant;
}

/// The system's clock that never goes back.
#[must_use]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// How long ago that was, by [`monotonic`].
#[must_use]
pub fn since(begun: Instant) -> Duration {
    monotonic().saturating_duration_since(begun)
}

/// Gives random bytes fit for salts and ids.
pub trait Randomness: Send + Sync {
    /// Sixteen bytes that nobody can foretell.
    fn bytes(&self) -> [u8; 16];
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks")]
    fn now(&self) -> DateTime<Utc> {
        let now = Utc::now();
        now.duration_trunc(TimeDelta::microseconds(1))
            .unwrap_or(now)
    }

    fn instant(&self) -> Instant {
        monotonic()
    }
}

/// The system's clock, moved ahead by a test.
#[derive(Debug, Default)]
pub struct SettableClock {
    ahead: Mutex<Duration>,
}

impl SettableClock {
    /// Moves it ahead, by so much more.
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

/// A generator in each thread that the system's seeds (`ChaCha` with twelve rounds, seeded anew after
/// each 64 KiB): asking the system costs a call into it for every id.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        rand::rng().fill_bytes(&mut bytes);
        bytes
    }
}

/// A `UUIDv7` (RFC 9562, section 5.7) of that moment.
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
