//! The writes of the slice.

#[cfg(test)]
mod contract;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::StoreError;
use crate::platform::database::{Database, Micros, Statement};
use crate::platform::limits::{Bound, Limit};

const DAY: Duration = Duration::from_hours(24);

/// How long a session is kept after it ended or reached its maximum age: until then its refresh tokens
/// get the reason.
const SESSIONS_KEPT: Duration = DAY.saturating_mul(7);

/// How long a revocation is kept after no token that it revokes can be valid: the clock of an instance
/// may be fast.
const REVOCATIONS_KEPT: Duration = Duration::from_hours(1);

/// How long an entry of the log is kept.
const LOG_KEPT: Duration = DAY.saturating_mul(90);

/// How long failed logins are remembered after the last one.
const FAILURES_KEPT: Duration = DAY.saturating_mul(30);

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    Limit {
        what: "Life of a row of a session after its end",
        bound: Bound::Time(SESSIONS_KEPT),
        effect: "its refresh tokens are `refresh-token-invalid`, no longer `session-ended`",
    },
    Limit {
        what: "Life of an entry in the log of logins and ended sessions",
        bound: Bound::Time(LOG_KEPT),
        effect: "it is removed",
    },
    Limit {
        what: "Life of a count of failed logins after the last one",
        bound: Bound::Time(FAILURES_KEPT),
        effect: "it is removed",
    },
];

// Each condition stands twice: a row that another transaction changes meanwhile is judged once more.
static ENDED_SESSIONS: Statement = Statement::new(
    "DELETE FROM sessions WHERE ended_at <= $1 AND id IN \
     (SELECT id FROM sessions WHERE ended_at <= $1 ORDER BY ended_at LIMIT $2) RETURNING id",
);

static EXPIRED_SESSIONS: Statement = Statement::new(
    "DELETE FROM sessions WHERE expires_at <= $1 AND id IN \
     (SELECT id FROM sessions WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) RETURNING id",
);

// Nothing is forgotten before it was created, and only that time has an index.
static REVOCATIONS: Statement = Statement::new(
    "DELETE FROM revocations WHERE forget_at <= $1 AND id IN \
     (SELECT id FROM revocations WHERE created_at <= $1 AND forget_at <= $1 \
     ORDER BY created_at LIMIT $2) RETURNING id",
);

static LOG: Statement = Statement::new(
    "DELETE FROM auth_log WHERE at <= $1 AND id IN \
     (SELECT id FROM auth_log WHERE at <= $1 ORDER BY at LIMIT $2) RETURNING id",
);

static FAILURES: Statement = Statement::new(
    "DELETE FROM login_throttle WHERE last_at <= $1 AND subject IN \
     (SELECT subject FROM login_throttle WHERE last_at <= $1 ORDER BY last_at LIMIT $2) \
     RETURNING subject",
);

/// Rows that are removed once they are old.
pub struct Old {
    /// What they are, for the log.
    pub what: &'static str,
    statement: &'static Statement,
    kept: Duration,
}

/// All of them.
pub static OLD: [Old; 5] = [
    Old {
        what: "ended sessions",
        statement: &ENDED_SESSIONS,
        kept: SESSIONS_KEPT,
    },
    Old {
        what: "expired sessions",
        statement: &EXPIRED_SESSIONS,
        kept: SESSIONS_KEPT,
    },
    Old {
        what: "revocations",
        statement: &REVOCATIONS,
        kept: REVOCATIONS_KEPT,
    },
    Old {
        what: "log entries",
        statement: &LOG,
        kept: LOG_KEPT,
    },
    Old {
        what: "failed logins",
        statement: &FAILURES,
        kept: FAILURES_KEPT,
    },
];

impl Old {
    /// Removes at most so many of these rows that are old now, the oldest first. Returns how many.
    ///
    /// # Errors
    /// When the store is unavailable, or reports an error.
    pub async fn remove(
        &self,
        database: &Database,
        now: DateTime<Utc>,
        most: u32,
    ) -> Result<usize, StoreError> {
        let kept = TimeDelta::from_std(self.kept).unwrap_or(TimeDelta::MAX);
        let parameters = (Micros(now - kept), i64::from(most));
        let removed: Vec<()> = database.write_one(self.statement, parameters).await?;
        Ok(removed.len())
    }
}
