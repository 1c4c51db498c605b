//! Clock and randomness. Other modules receive them as dependencies, so that a test can replace
//! them.
//!
//! Data that expires uses a [`Clock`], which tests can move: records, rate limits, and reports that
//! are cached for a second. Deadlines are kept by timers, which follow only the system's time; they
//! and measurements use [`monotonic`]. No other module reads the system clock.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Datelike, SecondsFormat, Timelike, Utc};
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
        now.with_nanosecond(now.nanosecond() / 1000 * 1000)
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

/// A time in responses and for people: RFC 3339 with six digits of microseconds, in UTC.
#[must_use]
pub fn timestamp(time: DateTime<Utc>) -> String {
    let mut text = String::with_capacity(27);
    push_timestamp(&mut text, &time);
    text
}

/// Appends a time as RFC 3339 with six digits of microseconds, in UTC: faster than by chrono's
/// formatter, for every log line and response.
pub fn push_timestamp(text: &mut String, time: &DateTime<Utc>) {
    let time_utc = time.naive_utc();
    let Ok(year @ 0..=9999) = u32::try_from(time_utc.year()) else {
        text.push_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true));
        return;
    };
    // A leap second is the 60th, with the nanoseconds over a billion.
    let nanos = time_utc.nanosecond();
    let micros = nanos % 1_000_000_000 / 1000;
    let mut bytes = *b"0000-00-00T00:00:00.000000Z";
    for (at, value) in [
        (0, year / 100),
        (2, year),
        (5, time_utc.month()),
        (8, time_utc.day()),
        (11, time_utc.hour()),
        (14, time_utc.minute()),
        (17, time_utc.second() + nanos / 1_000_000_000),
        (20, micros / 10_000),
        (22, micros / 100),
        (24, micros),
    ] {
        // Two digits each.
        let digit = |value: u32| b"0123456789"[(value % 10) as usize];
        bytes[at] = digit(value / 10);
        bytes[at + 1] = digit(value);
    }
    text.push_str(std::str::from_utf8(&bytes).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_timestamp_is_that_of_chrono(
            seconds in -80_000_000_000_i64..300_000_000_000,
            nanos in 0_u32..1_000_000_000,
        ) {
            let time = DateTime::from_timestamp(seconds, nanos).expect("in range");
            let mut text = String::new();
            push_timestamp(&mut text, &time);
            prop_assert_eq!(text, time.to_rfc3339_opts(SecondsFormat::Micros, true));
        }
    }

    #[test]
    fn a_timestamp_of_a_leap_second_is_that_of_chrono() {
        let leap = DateTime::from_timestamp(1_483_228_799, 1_500_000_000).expect("a leap second");
        let mut text = String::new();
        push_timestamp(&mut text, &leap);
        assert_eq!(text, "2016-12-31T23:59:60.500000Z");
    }

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
