//! Time and chance. Everything else is handed these, so that a test can hand it others.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use rand::Rng;
use uuid::Uuid;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// The time now, in whole microseconds: what both databases keep.
    fn now(&self) -> DateTime<Utc>;
}

/// Gives random bytes fit for salts and ids.
pub trait Randomness: Send + Sync {
    /// Sixteen bytes that nobody can foretell.
    fn bytes(&self) -> [u8; 16];
}

/// The system's clock, and a generator in each thread that the system's seeds (`ChaCha` with twelve
/// rounds, seeded anew after each 64 KiB): asking the system costs a call into it for every id.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks")]
    fn now(&self) -> DateTime<Utc> {
        let now = Utc::now();
        now.duration_trunc(TimeDelta::microseconds(1))
            .unwrap_or(now)
    }
}

impl Randomness for System {
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
        let now = System.now();
        let (a, b) = (uuid_v7(now, &System), uuid_v7(now, &System));
        assert_ne!(a, b);
        assert_eq!(a.get_version_num(), 7);
        assert_eq!(a.as_bytes()[..6], b.as_bytes()[..6]);
        assert_eq!(now.timestamp_subsec_nanos() % 1000, 0);
    }
}
