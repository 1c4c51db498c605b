//! Planted bugs in transactions, of any slice, and in reads. See [`platform::faults`](crate::platform::faults)
//! for how a fault is chosen.
//!
//! - `drop TABLE`: statements that write the table are not run, but reported as run.
//! - `defer TABLE`: they are run after COMMIT.
//! - `split TABLE`: the transaction is committed after them, and another one continues.
//! - `early-commit`: COMMIT is acknowledged before it happens.
//! - `unguarded COLUMN`: an UPDATE does not check that the column still has the value that was read.
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
        // A table, or only one operation on it, as in `defer INSERT mail_queue`.
        let point = format!("{} {}", of.operation(), of.table());
        let is_of = |named: Option<&str>| {
            of.operation() != "SELECT"
                && named.is_some_and(|named| named == of.table() || named == point)
        };
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

/// The statement that is run instead of this one: without the guard of a column, if that is planted.
#[cfg(feature = "faults")]
pub fn planted(of: &'static Statement) -> &'static Statement {
    use std::collections::HashMap;
    use std::sync::{Mutex, PoisonError};

    /// By their texts. A statement lives for as long as the process, so each is made once.
    static UNGUARDED: Mutex<Option<HashMap<&str, &Statement>>> = Mutex::new(None);
    let Some(column) = faults::planted("unguarded") else {
        return of;
    };
    let Some(text) = without_guard(of.text(), column) else {
        return of;
    };
    let mut made = UNGUARDED.lock().unwrap_or_else(PoisonError::into_inner);
    made.get_or_insert_default()
        .entry(of.text())
        .or_insert_with(|| Box::leak(Box::new(Statement::new(text.leak()))))
}

/// The statement itself.
#[cfg(not(feature = "faults"))]
pub const fn planted(of: &'static Statement) -> &'static Statement {
    of
}

/// An UPDATE without its condition ` AND COLUMN = $n`; `None` if it has none. The parameter stays, as the
/// caller passes it.
#[cfg(feature = "faults")]
fn without_guard(text: &str, column: &str) -> Option<String> {
    let guard = format!(" AND {column} = $");
    let (before, after) = text.strip_prefix("UPDATE")?.split_once(&guard)?;
    let digits = after.find(|letter: char| !letter.is_ascii_digit());
    let (number, after) = after.split_at(digits.unwrap_or(after.len()));
    Some(format!("UPDATE{before} AND ${number} = ${number}{after}"))
}

/// The crash point after a statement.
pub fn ran(of: &Statement) {
    if cfg!(feature = "faults") {
        faults::point(&format!("{} {}", of.operation(), of.table()));
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "faults")]
    #[test]
    fn the_guard_of_an_update_is_left_out() {
        use super::without_guard;

        let update =
            |guard| format!("UPDATE t SET n = $1, n_at = $2 WHERE id = $3{guard} AND a = $5");
        let without = without_guard(&update(" AND n = $4"), "n");
        assert_eq!(without, Some(update(" AND $4 = $4")));
        assert_eq!(without_guard(&update(""), "n"), None);
        assert_eq!(
            without_guard("SELECT n FROM t WHERE id = $1 AND n = $2", "n"),
            None
        );
    }
}
