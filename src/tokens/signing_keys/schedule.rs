//! The states of signing keys, which follow from times alone: instances need no word with each other.
//!
//! A key is published before it signs, so that every validator has it before it meets a token of it; and stays
//! published after it was replaced, for as long as a token of it may be valid.
//!
//! ```text
//! created_at          active_from                retired_at              remove_at
//!     | published         | active                   | retired               | removed
//!     |  PUBLISHED_FOR    |  ROTATE_AFTER or more    |  KEPT_FOR             |
//! ```

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::config::MAX_ACCESS_TOKEN_TTL;

/// How long validators may cache the published keys: the `max-age` of the JWKS document.
pub const JWKS_MAX_AGE: Duration = Duration::from_mins(5);

/// The interval at which instances read the table.
pub const RELOAD_EVERY: Duration = Duration::from_secs(30);

/// How long a key is published before it signs: the cache of a validator, an instance that publishes it late,
/// and the rest for clocks that differ.
pub const PUBLISHED_FOR: Duration = Duration::from_mins(10);

/// How long a key is kept after it was replaced: its last token is valid for as long as the settings allow,
/// then a minute for clocks that differ, and the cache of a validator.
pub const KEPT_FOR: Duration = MAX_ACCESS_TOKEN_TTL
    .saturating_add(Duration::from_mins(1))
    .saturating_add(JWKS_MAX_AGE);

/// How long a key signs before it is replaced.
pub const ROTATE_AFTER: Duration = Duration::from_hours(90 * 24);

/// The times of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When it was made, and published.
    pub created_at: DateTime<Utc>,
    /// From when on it signs, unless a newer one does.
    pub active_from: DateTime<Utc>,
    /// When its successor becomes active, if it has one.
    pub retired_at: Option<DateTime<Utc>>,
    /// When it is published no more, if it has a successor.
    pub remove_at: Option<DateTime<Utc>>,
}

/// When a key ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retirement {
    /// When its successor becomes active.
    pub retired_at: DateTime<Utc>,
    /// When it is published no more.
    pub remove_at: DateTime<Utc>,
}

/// The state of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// In the JWKS document, so that validators know it before it signs.
    Published,
    /// It signs. Exactly one key does.
    Active,
    /// It signs no more; its tokens are valid until they expire.
    Retired,
    /// Neither it nor its tokens are valid.
    Removed,
}

impl Times {
    /// Of a key that signs at once: the very first, or one that replaces a revoked key.
    #[must_use]
    pub const fn at_once(now: DateTime<Utc>) -> Self {
        Self {
            created_at: now,
            active_from: now,
            retired_at: None,
            remove_at: None,
        }
    }

    /// Of a key that will replace the active one.
    #[must_use]
    pub fn successor(now: DateTime<Utc>) -> Self {
        Self {
            active_from: now + PUBLISHED_FOR,
            ..Self::at_once(now)
        }
    }

    /// When a key ends whose successor becomes active then.
    #[must_use]
    pub fn retirement(active_from: DateTime<Utc>) -> Retirement {
        Retirement {
            retired_at: active_from,
            remove_at: active_from + KEPT_FOR,
        }
    }

    /// Whether tokens of this key are valid, and its public half is published.
    #[must_use]
    pub fn is_valid(&self, now: DateTime<Utc>) -> bool {
        self.remove_at.is_none_or(|remove_at| now < remove_at)
    }

    /// Whether the newest key is old enough to be replaced by itself.
    #[must_use]
    pub fn is_due(&self, now: DateTime<Utc>) -> bool {
        self.retired_at.is_none() && self.active_from + ROTATE_AFTER <= now
    }
}

/// The active key, by its place in the list: of the valid ones that may sign, the newest. If none may sign yet,
/// the clock of this instance is behind that of the one that made the first key: then it is the oldest.
#[must_use]
pub fn active(keys: &[Times], now: DateTime<Utc>) -> Option<usize> {
    let valid = || {
        let all = keys.iter().enumerate();
        all.filter(|(_, times)| times.is_valid(now))
    };
    valid()
        .filter(|(_, times)| times.active_from <= now)
        .max_by_key(|(_, times)| times.active_from)
        .or_else(|| valid().min_by_key(|(_, times)| times.active_from))
        .map(|(at, _)| at)
}

/// The state of each key.
#[must_use]
pub fn states(keys: &[Times], now: DateTime<Utc>) -> Vec<State> {
    let active = active(keys, now);
    let state = |(at, times): (usize, &Times)| {
        if !times.is_valid(now) {
            State::Removed
        } else if active == Some(at) {
            State::Active
        } else if times.active_from > now {
            State::Published
        } else {
            State::Retired
        }
    };
    keys.iter().enumerate().map(state).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::State::{Active, Published, Removed, Retired};
    use super::*;

    fn at(seconds: u64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn replaced(key: Times, active_from: DateTime<Utc>) -> Times {
        let Retirement {
            retired_at,
            remove_at,
        } = Times::retirement(active_from);
        Times {
            retired_at: Some(retired_at),
            remove_at: Some(remove_at),
            ..key
        }
    }

    /// The first key, and a successor made after 1000 s.
    fn two() -> [Times; 2] {
        let successor = Times::successor(at(1_000));
        [
            replaced(Times::at_once(at(0)), successor.active_from),
            successor,
        ]
    }

    #[rstest]
    #[case::before(0, [Active, Published])]
    #[case::published(1_000, [Active, Published])]
    #[case::last_second(1_599, [Active, Published])]
    #[case::active(1_600, [Retired, Active])]
    #[case::still_valid(1_600 + 3_959, [Retired, Active])]
    #[case::removed(1_600 + 3_960, [Removed, Active])]
    #[case::later(1_000_000_000, [Removed, Active])]
    fn states_follow_from_times(#[case] now: u64, #[case] expected: [State; 2]) {
        assert_eq!(states(&two(), at(now)), expected);
        let mut reversed = two();
        reversed.reverse();
        let mut found = states(&reversed, at(now));
        found.reverse();
        assert_eq!(found, expected, "in any order");
    }

    #[test]
    fn a_single_key_is_active_from_the_start() {
        let keys = [Times::at_once(at(5))];
        assert_eq!(states(&keys, at(5)), [Active]);
        assert_eq!(states(&keys, at(1_000_000_000)), [Active]);
        assert_eq!(states(&keys, at(4)), [Active], "by a clock that is behind");
        assert_eq!(active(&[], at(0)), None);
    }

    #[test]
    fn a_key_is_due_after_ninety_days() {
        let key = Times::at_once(at(0));
        let days = 90 * 24 * 3_600;
        assert!(!key.is_due(at(days - 1)) && key.is_due(at(days)));
        assert!(
            !replaced(key, at(days)).is_due(at(days)),
            "it has a successor"
        );
    }

    /// Everything that must have happened before the first token of a key.
    #[test]
    fn a_key_is_published_for_longer_than_anything_caches() {
        let skew = Duration::from_mins(4);
        assert!(PUBLISHED_FOR >= JWKS_MAX_AGE + RELOAD_EVERY + skew);
    }

    /// What rotations at these times leave behind, as the store writes it: a key is only replaced while it is
    /// active.
    fn rotated(times: &[u64]) -> Vec<Times> {
        let mut keys: Vec<Times> = Vec::new();
        for now in times.iter().map(|seconds| at(*seconds)) {
            let Some(head) = keys.last_mut() else {
                keys.push(Times::at_once(now));
                continue;
            };
            if head.active_from <= now {
                let successor = Times::successor(now);
                *head = replaced(*head, successor.active_from);
                keys.push(successor);
            }
        }
        keys
    }

    proptest! {
        #[test]
        fn whenever_keys_are_rotated(
            mut rotations in prop::collection::vec(0_u64..40_000, 1..40),
            now in 0_u64..80_000,
            life in 1_u64..=3_600,
        ) {
            rotations.sort_unstable();
            let keys = rotated(&rotations);
            let begun = rotations[0];
            let now = now.max(begun);
            let found = states(&keys, at(now));
            // Keys of the future are not there yet.
            let there = |key: &Times| key.created_at <= at(now);

            let count = found.iter().filter(|state| **state == Active).count();
            prop_assert_eq!(count, 1, "exactly one signs");
            let signs = active(&keys, at(now)).expect("one signs");
            prop_assert!(there(&keys[signs]));
            let published = at(now) - keys[signs].created_at;
            let enough = (JWKS_MAX_AGE + RELOAD_EVERY).as_secs();
            prop_assert!(signs == 0 || published.num_seconds() >= i64::try_from(enough)?);

            // Any key that signed within the life of a token, and the leeway of the expiry, is still valid.
            for earlier in (begun.max(now.saturating_sub(life + 30))..=now).step_by(7) {
                let signed = active(&keys, at(earlier)).expect("one signed");
                prop_assert!(keys[signed].is_valid(at(now)));
            }
        }
    }
}
