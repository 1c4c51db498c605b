//! Fault injection for tests: points at which the process ends, as in a crash, and planted bugs
//! that tests must find. A build without the feature `faults` has neither.
//!
//! Every statement of a transaction is a point, and so are its begin and its commit
//! ([`database::faults`](super::database)): a slice needs no points of its own.

/// Ends the process here if `CRASH_AT` names this point: `INSERT users:3` at its third pass.
#[cfg(feature = "faults")]
#[expect(
    clippy::disallowed_methods,
    reason = "a fault is not a setting: only tests use it"
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

/// Does nothing.
#[cfg(not(feature = "faults"))]
pub const fn point(_: &str) {}

/// The argument of this bug in `PLANT`: the table in `drop users`, empty for `early-commit`.
#[cfg(feature = "faults")]
#[expect(
    clippy::disallowed_methods,
    reason = "a planted bug is not a setting: only tests use it"
)]
pub fn planted(bug: &str) -> Option<&'static str> {
    use std::sync::OnceLock;

    static PLANT: OnceLock<String> = OnceLock::new();
    let plant = PLANT.get_or_init(|| std::env::var("PLANT").unwrap_or_default());
    let (name, table) = plant.split_once(' ').unwrap_or((plant, ""));
    (name == bug).then_some(table)
}
