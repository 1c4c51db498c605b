//! The query of the slice.

#[cfg(test)]
mod contract;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::access::feed::LONGEST;
use crate::domain::StoreError;
use crate::platform::database::{Database, Error, FromRow, Micros, Row, Statement};

/// The maximum number of revocations of a page.
pub const MAX_PAGE: usize = 1_000;

/// The position of a revocation in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// When it was stamped.
    pub created_at: DateTime<Utc>,
    /// Orders revocations of the same microsecond.
    pub id: Uuid,
}

impl Position {
    /// Before every revocation that matters now.
    #[must_use]
    pub fn first(now: DateTime<Utc>) -> Self {
        Self {
            created_at: now - LONGEST,
            id: Uuid::nil(),
        }
    }
}

/// A revocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Its id.
    pub id: Uuid,
    /// What the subject is: `session` or `user`.
    pub kind: String,
    /// The id of the session or the user.
    pub subject: Uuid,
    /// Tokens of the user with a lower epoch are revoked; `None` if all are.
    pub min_epoch: Option<i32>,
    /// Why, in a word.
    pub reason: String,
    /// When it was stamped.
    pub created_at: DateTime<Utc>,
    /// When no such token can be valid any more.
    pub forget_at: DateTime<Utc>,
}

impl Revoked {
    /// Its position in the list.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position {
            created_at: self.created_at,
            id: self.id,
        }
    }
}

impl FromRow for Revoked {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        Ok(Self {
            id: row.get("id")?,
            kind: row.get("kind")?,
            subject: row.get("subject")?,
            min_epoch: row.get("min_epoch")?,
            reason: row.get("reason")?,
            created_at: row.get::<Micros>("created_at")?.0,
            forget_at: row.get::<Micros>("forget_at")?.0,
        })
    }
}

static AFTER: Statement = Statement::new(
    "SELECT id, kind, subject, min_epoch, reason, created_at, forget_at FROM revocations \
     WHERE (created_at, id) > ($1, $2) AND forget_at > $3 ORDER BY created_at, id LIMIT $4",
);

/// The revocations behind a position that matter now, the oldest first, at most [`MAX_PAGE`]; from the
/// primary.
///
/// # Errors
/// When the store is unavailable, or reports an error.
pub async fn after(
    database: &Database,
    position: Position,
    now: DateTime<Utc>,
) -> Result<Vec<Revoked>, StoreError> {
    let most = i32::try_from(MAX_PAGE).unwrap_or(i32::MAX);
    let Position { created_at, id } = position;
    let parameters = (Micros(created_at), id, Micros(now), most);
    database.fetch_all_latest(&AFTER, parameters).await
}
