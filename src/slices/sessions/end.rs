//! Ending a session.

use crate::platform::database::Statement;

/// Ends a session that has not ended: `$1` its id, `$2` when, `$3` why.
pub static END: Statement = Statement::new(
    "UPDATE sessions SET ended_at = $2, end_reason = $3 WHERE id = $1 AND ended_at IS NULL",
);
