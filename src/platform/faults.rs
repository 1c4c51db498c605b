//! Faults for tests: points at which the process ends, as a crash would, and bugs that are planted
//! to see whether a test finds them. A build without the feature `faults` has neither.
//!
//! Every statement that a transaction runs is a point, and so are its begin and its commit
//! ([`database::faults`](super::database)): a slice needs none of its own.

/// Ends the process here, if `CRASH_AT` names this point: `INSERT users:3` at its third passing.
#[cfg(feature = "faults")]
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
#[cfg(not(feature = "faults"))]
pub const fn point(_: &str) {}

/// What `PLANT` says of this bug: the table in `drop users`, nothing in `early-commit`.
#[cfg(feature = "faults")]
#[expect(
    clippy::disallowed_methods,
    reason = "a planted bug is no setting: it comes with the process and no user has it"
)]
pub fn planted(bug: &str) -> Option<&'static str> {
    use std::sync::OnceLock;

    static PLANT: OnceLock<String> = OnceLock::new();
    let plant = PLANT.get_or_init(|| std::env::var("PLANT").unwrap_or_default());
    let (name, table) = plant.split_once(' ').unwrap_or((plant, ""));
    (name == bug).then_some(table)
}
