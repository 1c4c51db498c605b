//! Named points at which a fault test ends the process, as a crash would, and bugs that it plants
//! to see whether it would find them. A build without the feature `crash-points` has neither.
//!
//! To add one, call [`point`] with a new name and put the name into [`POINTS`].

/// Every point of a signup, in its order.
pub const POINTS: [&str; 7] = [
    "begun",
    "record-written",
    "users-written",
    "users-read-written",
    "event-written",
    "committed",
    "before-answer",
];

/// One more, where there is a Redis: it has the answer.
pub const ANSWER_SHARED: &str = "answer-shared";

/// Ends the process here, if `CRASH_AT` names this point: `users-written:3` at its third passing.
#[cfg(feature = "crash-points")]
#[expect(
    clippy::disallowed_methods,
    reason = "a fault is no setting: it comes with the process and no user has it"
)]
pub fn point(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static CRASH_AT: OnceLock<Option<(String, AtomicU32)>> = OnceLock::new();
    let crash_at = CRASH_AT.get_or_init(|| {
        let text = std::env::var("CRASH_AT").ok()?;
        let (name, passing) = text.split_once(':')?;
        Some((name.to_owned(), AtomicU32::new(passing.parse().ok()?)))
    });
    if let Some((wanted, left)) = crash_at
        && wanted == name
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(feature = "crash-points"))]
pub const fn point(_: &str) {}

/// Whether `PLANT` names this bug: a fault test that can't find it proves nothing.
#[cfg(feature = "crash-points")]
#[expect(
    clippy::disallowed_methods,
    reason = "a planted bug is no setting: it comes with the process and no user has it"
)]
pub fn planted(bug: &str) -> bool {
    std::env::var("PLANT").is_ok_and(|planted| planted == bug)
}

/// No.
#[cfg(not(feature = "crash-points"))]
pub const fn planted(_: &str) -> bool {
    false
}
