//! The decision about a refresh: which token a presented one is exchanged for.
//!
//! The generation is the only state. A token is exchanged for the next one once; the exchange can be
//! repeated with the same `Idempotency-Key` for a day, and without it for a short time, and then
//! gives the same token. Any other use of an old token shows that two hold it: the session ends.
//!
//! A function of values, without a database or a clock, so that a test can compare it with a model.

use chrono::{DateTime, TimeDelta, Utc};

use super::{EndReason, Generation};

/// How long the same refresh can be repeated with its key.
pub const REPEATABLE_BY_KEY: TimeDelta = TimeDelta::hours(24);

/// The keyed hash of an `Idempotency-Key` of a session.
pub type KeyHash = [u8; 32];

/// What is stored of a session.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    /// The generation of its current token.
    pub generation: Generation,
    /// When the current token was made.
    pub rotated_at: DateTime<Utc>,
    /// The key of the refresh that made it.
    pub rotation_key: Option<KeyHash>,
    /// When it ends if it is not used.
    pub idle_until: DateTime<Utc>,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
    /// Why it was ended.
    pub ended: Option<EndReason>,
    /// Whether its user is suspended.
    pub is_suspended: bool,
}

/// A genuine refresh token of the session, as it was presented.
#[derive(Debug, Clone, Copy)]
pub struct Presented<'a> {
    /// Its generation.
    pub generation: Generation,
    /// The key that came with it, under each secret in use; empty without a key.
    pub keys: &'a [KeyHash],
}

/// What to do with a presented token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Make the next token, on condition that the generation is still the presented one.
    Rotate,
    /// Return the current token: the same refresh, by its key.
    Replay,
    /// Return the current token: the same refresh, by its time.
    Grace,
    /// Refuse it, and end nothing: a late duplicate of an earlier refresh.
    Superseded,
    /// End the session: two hold its tokens.
    Reused,
    /// Refuse it: the session has ended.
    Ended(EndReason),
    /// Refuse it: its key made the current token already, so that it is no new refresh.
    KeyReused,
    /// Refuse it: the database is older than the token, as after a restore.
    SetBack,
}

/// Decides about a presented token of a session. `grace` is how long a refresh can be repeated
/// without its key.
#[must_use]
pub fn decide(
    stored: &Stored,
    presented: &Presented<'_>,
    grace: TimeDelta,
    now: DateTime<Utc>,
) -> Decision {
    if let Some(reason) = ended(stored, now) {
        return Decision::Ended(reason);
    }
    let mut keys = presented.keys.iter();
    let is_same_key = keys.any(|key| Some(*key) == stored.rotation_key);
    if presented.generation == stored.generation {
        return if is_same_key {
            Decision::KeyReused
        } else {
            Decision::Rotate
        };
    }
    if presented.generation > stored.generation {
        return Decision::SetBack;
    }
    let since = now - stored.rotated_at;
    let is_previous = presented.generation.next() == Some(stored.generation);
    match is_previous {
        true if is_same_key && since <= REPEATABLE_BY_KEY => Decision::Replay,
        true if since <= grace => Decision::Grace,
        false if since <= grace => Decision::Superseded,
        _ => Decision::Reused,
    }
}

/// Why a session has ended, if it has.
#[must_use]
pub fn ended(stored: &Stored, now: DateTime<Utc>) -> Option<EndReason> {
    stored.ended.or(if now >= stored.expires_at {
        Some(EndReason::Expired)
    } else if now >= stored.idle_until {
        Some(EndReason::Idle)
    } else if stored.is_suspended {
        Some(EndReason::Suspended)
    } else {
        None
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const GRACE: TimeDelta = TimeDelta::seconds(30);
    const KEY: Option<KeyHash> = Some([1; 32]);
    const OTHER: Option<KeyHash> = Some([2; 32]);

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).expect("in range")
    }

    /// A session whose token of generation 5 was made at 0, with a key.
    fn live() -> Stored {
        Stored {
            generation: Generation::new(5),
            rotated_at: at(0),
            rotation_key: KEY,
            idle_until: at(7 * 86_400),
            expires_at: at(30 * 86_400),
            ended: None,
            is_suspended: false,
        }
    }

    fn after(seconds: i64, generation: u32, key: Option<KeyHash>) -> Decision {
        let generation = Generation::new(generation);
        let keys = key.as_slice();
        decide(&live(), &Presented { generation, keys }, GRACE, at(seconds))
    }

    const DAY: i64 = 86_400;

    #[rstest]
    #[case::the_current_one(100, 5, None, Decision::Rotate)]
    #[case::with_a_new_key(100, 5, OTHER, Decision::Rotate)]
    #[case::with_the_key_that_made_it(100, 5, KEY, Decision::KeyReused)]
    #[case::a_retry_by_its_key(10, 4, KEY, Decision::Replay)]
    #[case::after_a_night(DAY / 3, 4, KEY, Decision::Replay)]
    #[case::in_the_last_second(DAY, 4, KEY, Decision::Replay)]
    #[case::a_day_later(DAY + 1, 4, KEY, Decision::Reused)]
    #[case::a_retry_without_a_key(30, 4, None, Decision::Grace)]
    #[case::a_retry_with_another_key(30, 4, OTHER, Decision::Grace)]
    #[case::too_late_for_that(31, 4, None, Decision::Reused)]
    #[case::nor_with_another_key(31, 4, OTHER, Decision::Reused)]
    #[case::a_late_duplicate(30, 3, None, Decision::Superseded)]
    #[case::even_with_the_key(30, 3, KEY, Decision::Superseded)]
    #[case::an_old_token(31, 3, None, Decision::Reused)]
    #[case::the_first_token(31, 0, KEY, Decision::Reused)]
    #[case::a_token_of_the_future(31, 6, None, Decision::SetBack)]
    #[case::by_a_clock_that_is_behind(-5, 4, None, Decision::Grace)]
    fn each_token_gets_what_the_table_says(
        #[case] seconds: i64,
        #[case] generation: u32,
        #[case] key: Option<KeyHash>,
        #[case] expected: Decision,
    ) {
        assert_eq!(after(seconds, generation, key), expected);
    }

    #[test]
    fn two_refreshes_without_a_key_are_not_the_same_by_it() {
        let stored = Stored {
            rotation_key: None,
            ..live()
        };
        let current = |generation| {
            let presented = Presented {
                generation: Generation::new(generation),
                keys: &[],
            };
            decide(&stored, &presented, GRACE, at(100))
        };
        assert_eq!(current(5), Decision::Rotate);
        assert_eq!(current(4), Decision::Reused);
    }

    #[test]
    fn a_session_that_has_ended_says_why_to_every_token() {
        let ended = |stored: Stored, now| {
            let decisions = (3..=6).map(|generation| {
                let generation = Generation::new(generation);
                let presented = Presented {
                    generation,
                    keys: KEY.as_slice(),
                };
                decide(&stored, &presented, GRACE, now)
            });
            let decisions: Vec<Decision> = decisions.collect();
            assert!(decisions.iter().all(|one| *one == decisions[0]));
            decisions[0]
        };
        assert_eq!(ended(live(), at(7 * DAY)), Decision::Ended(EndReason::Idle));
        assert_eq!(
            ended(live(), at(30 * DAY)),
            Decision::Ended(EndReason::Expired)
        );
        let suspended = Stored {
            is_suspended: true,
            ..live()
        };
        assert_eq!(
            ended(suspended, at(1)),
            Decision::Ended(EndReason::Suspended)
        );
        for reason in EndReason::ALL {
            let stored = Stored {
                ended: Some(reason),
                ..live()
            };
            assert_eq!(ended(stored, at(1)), Decision::Ended(reason));
        }
    }

    /// A holder of tokens: it has each of these generations, and a key of its own.
    #[derive(Debug, Clone)]
    enum Step {
        /// Presents the newest token that it has, with its key or without.
        Honest {
            with_key: bool,
            is_lost: bool,
        },
        /// Presents a copy, this many generations back, without the key.
        Thief {
            back: u32,
        },
        Wait(i64),
    }

    proptest! {
        /// The model: an owner who refreshes, loses responses and retries, and a thief with copies.
        /// Each token has one successor; an owner alone never loses the session, as long as it
        /// retries in time; and a copy of an exchanged token beyond the grace ends it.
        #[test]
        fn tokens_have_one_successor_and_reuse_ends_the_session(
            steps in prop::collection::vec(
                prop_oneof![
                    4 => (any::<bool>(), any::<bool>())
                        .prop_map(|(with_key, is_lost)| Step::Honest { with_key, is_lost }),
                    1 => (0_u32..4).prop_map(|back| Step::Thief { back }),
                    3 => (1_i64..100).prop_map(Step::Wait),
                ],
                0..40,
            ),
        ) {
            let mut stored = live();
            let (mut now, mut has, mut key, mut sent_at) = (1, 5_u32, 0_u8, None);
            let (mut thief_spoke, mut rotations) = (false, std::collections::HashMap::new());
            for step in steps {
                let (generation, key_of, is_lost) = match step {
                    Step::Wait(seconds) => {
                        now += seconds;
                        continue;
                    }
                    Step::Honest { with_key, is_lost } => {
                        if sent_at.is_none() {
                            key += 1;
                        }
                        let in_time = sent_at.is_none_or(|sent| now - sent <= 30);
                        // It keeps its token and its key until a response comes.
                        let key = (with_key || !in_time).then_some([key + 10; 32]);
                        if !in_time && stored.rotation_key != key && has != stored.generation.get() {
                            // It sent the first attempt without the key, and waited too long.
                            break;
                        }
                        (has, key, is_lost)
                    }
                    Step::Thief { back } => {
                        thief_spoke = true;
                        (has.saturating_sub(back), None, true)
                    }
                };
                let keys = key_of.as_slice();
                let presented = Presented { generation: Generation::new(generation), keys };
                let decision = decide(&stored, &presented, GRACE, at(now));
                match decision {
                    Decision::Rotate => {
                        prop_assert_eq!(generation, stored.generation.get());
                        let earlier = rotations.insert(generation, generation + 1);
                        prop_assert_eq!(earlier, None, "two successors");
                        stored.generation = Generation::new(generation + 1);
                        stored.rotated_at = at(now);
                        stored.rotation_key = key_of;
                    }
                    Decision::Replay | Decision::Grace => {
                        prop_assert_eq!(generation + 1, stored.generation.get());
                        let since = now - (stored.rotated_at - at(0)).num_seconds();
                        prop_assert!(decision == Decision::Replay || since <= 30);
                    }
                    Decision::Reused => {
                        prop_assert!(generation < stored.generation.get());
                        prop_assert!(thief_spoke, "the owner lost the session");
                        break;
                    }
                    Decision::Superseded => prop_assert!(thief_spoke),
                    Decision::KeyReused | Decision::SetBack | Decision::Ended(_) => {
                        prop_assert!(false, "{:?}", decision);
                    }
                }
                if matches!(step, Step::Honest { .. }) {
                    if is_lost {
                        sent_at.get_or_insert(now);
                    } else if decision != Decision::Superseded {
                        has = stored.generation.get();
                        sent_at = None;
                    }
                }
            }
        }
    }
}
