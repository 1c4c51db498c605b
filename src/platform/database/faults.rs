//! What a fault test does to a transaction, whatever slice it is of. See
//! [`platform::faults`](crate::platform::faults) for how a fault is chosen.
//!
//! - `drop TABLE`: statements that write the table are not run, and are said to have been.
//! - `defer TABLE`: they are run behind COMMIT.
//! - `split TABLE`: the transaction is committed behind them, and another goes on.
//! - `early-commit`: COMMIT is acknowledged before it happens.

#[cfg(feature = "faults")]
use std::time::Duration;

#[cfg(feature = "faults")]
use super::statement::Arguments;
use super::statement::Statement;
use crate::platform::faults;

/// How long a commit that was acknowledged early is held back.
#[cfg(feature = "faults")]
pub const LATE: Duration = Duration::from_millis(200);

/// What is planted in one transaction.
#[cfg(feature = "faults")]
#[derive(Default)]
pub struct Planted {
    /// The statements that are run behind COMMIT.
    pub deferred: Vec<(&'static Statement, Arguments)>,
}

#[cfg(feature = "faults")]
impl Planted {
    /// Whether a statement is not run where it stands.
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

/// Whether the transaction ends behind this statement, and another goes on.
#[cfg(feature = "faults")]
pub fn splits(of: &Statement) -> bool {
    faults::planted("split") == Some(of.table())
}

/// Whether COMMIT is acknowledged before it happens.
#[cfg(feature = "faults")]
pub fn commits_late() -> bool {
    faults::planted("early-commit").is_some()
}

/// The point behind a statement.
pub fn ran(of: &Statement) {
    if cfg!(feature = "faults") {
        faults::point(&format!("{} {}", of.operation(), of.table()));
    }
}
