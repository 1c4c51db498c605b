//! Planted bugs in transactions, of any slice, and in reads. See [`platform::faults`](crate::platform::faults)
//! for how a fault is chosen.
//!
//! - `drop TABLE`: statements that write the table are not run, but reported as run.
//! - `defer TABLE`: they are run after COMMIT.
//! - `split TABLE`: the transaction is committed after them, and another one continues.
//! - `early-commit`: COMMIT is acknowledged before it happens.
//! - `join`: a read gets its row from a statement that is under way.

#[cfg(feature = "faults")]
use std::time::Duration;

#[cfg(feature = "faults")]
use super::statement::Arguments;
use super::statement::Statement;
use crate::platform::faults;

/// The delay of a commit that was acknowledged early.
#[cfg(feature = "faults")]
pub const LATE: Duration = Duration::from_millis(200);

/// How long a statement that reads join seems to take: some reads must arrive meanwhile.
#[cfg(feature = "faults")]
pub const UNDER_WAY: Duration = Duration::from_millis(3);

/// The bugs planted in one transaction.
#[cfg(feature = "faults")]
#[derive(Default)]
pub struct Planted {
    /// The statements to run after COMMIT.
    pub deferred: Vec<(&'static Statement, Arguments)>,
}

#[cfg(feature = "faults")]
impl Planted {
    /// Whether a statement is not run in its place.
    pub fn withholds(&mut self, of: &'static Statement, arguments: &Arguments) -> bool {
        let is_of = |table: Option<&str>| of.operation() != "SELECT" && table == Some(of.table());
        if is_of(faults::planted("drop")) {
            return true;
        }
        if is_of(faults::planted("defer")) {
            self.deferred.push((of, arguments.clone()));
            return true;
        }
        false
    }
}

/// Whether the transaction is committed after this statement, and another one continues.
#[cfg(feature = "faults")]
pub fn splits(of: &Statement) -> bool {
    of.operation() != "SELECT" && faults::planted("split") == Some(of.table())
}

/// Whether COMMIT is acknowledged before it happens.
#[cfg(feature = "faults")]
pub fn commits_late() -> bool {
    faults::planted("early-commit").is_some()
}

/// Whether reads join a statement that is under way.
#[cfg(feature = "faults")]
pub fn joins() -> bool {
    faults::planted("join").is_some()
}

/// The crash point after a statement.
pub fn ran(of: &Statement) {
    if cfg!(feature = "faults") {
        faults::point(&format!("{} {}", of.operation(), of.table()));
    }
}
