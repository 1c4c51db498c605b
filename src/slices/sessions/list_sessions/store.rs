//! The query of the slice.

#[cfg(test)]
mod contract;

use chrono::{DateTime, Utc};

use crate::domain::{SessionId, StoreError, UserId};
use crate::platform::database::{Database, Error, FromRow, Micros, Row, Statement};

/// The maximum number of sessions.
pub const MAX_SESSIONS: usize = 50;

static LIVE: Statement = Statement::new(
    "SELECT id, label, created_at, last_used_at, network FROM sessions \
     WHERE user_id = $1 AND ended_at IS NULL AND idle_until > $2 AND expires_at > $2 \
     ORDER BY created_at DESC, id DESC LIMIT $3",
);

/// A session, as its user sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: SessionId,
    /// What the client called itself at login.
    pub label: Option<String>,
    /// When the user logged in.
    pub created_at: DateTime<Utc>,
    /// When it was last refreshed; when the user logged in, if never.
    pub last_used_at: DateTime<Utc>,
    /// The network of the client then, as in the log.
    pub network: Option<String>,
}

impl FromRow for Listed {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        Ok(Self {
            id: SessionId::new(row.get("id")?),
            label: row.get("label")?,
            created_at: row.get::<Micros>("created_at")?.0,
            last_used_at: row.get::<Micros>("last_used_at")?.0,
            network: row.get("network")?,
        })
    }
}

/// The live sessions of a user, the newest first, at most [`MAX_SESSIONS`]; from the primary, so that
/// one that was ended a moment ago is not among them.
///
/// # Errors
/// When the store is unavailable, or reports an error.
pub async fn live(
    database: &Database,
    user: UserId,
    now: DateTime<Utc>,
) -> Result<Vec<Listed>, StoreError> {
    let most = i32::try_from(MAX_SESSIONS).unwrap_or(i32::MAX);
    let parameters = (user.as_uuid(), Micros(now), most);
    database.fetch_all_latest(&LIVE, parameters).await
}
