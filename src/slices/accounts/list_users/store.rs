//! What the slice reads.

#[cfg(test)]
mod contract;

use chrono::{DateTime, Utc};

use crate::domain::{Email, StoreError, UserId};
use crate::platform::database::{Database, Micros, Statement};
use crate::slices::accounts::user::{User, users_read};

/// The place of a user in the list.
#[derive(Debug, Clone, Copy)]
pub struct Position {
    /// When the user was made.
    pub created_at: DateTime<Utc>,
    /// Decides between users of the same microsecond.
    pub id: UserId,
}

/// Some users of the list.
pub struct Page {
    /// At most as many as were asked for.
    pub users: Vec<User>,
    /// Whether there are more behind them.
    pub has_more: bool,
}

impl Page {
    /// Makes a page of rows that were read with a limit of one more than was asked for.
    fn of_one_more(mut users: Vec<User>, limit: u32) -> Self {
        let limit = limit as usize;
        let has_more = users.len() > limit;
        users.truncate(limit);
        Self { users, has_more }
    }
}

static BY_EMAIL: Statement = users_read!("WHERE email_canonical = $1");

static FIRST_PAGE: Statement = users_read!("ORDER BY created_at DESC, id DESC LIMIT $1");

static NEXT_PAGE: Statement =
    users_read!("WHERE (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC LIMIT $1");

/// The user whose canonical address this is, from the projection only.
///
/// # Errors
/// When the store can't tell.
pub async fn by_email(database: &Database, email: &Email) -> Result<Option<User>, StoreError> {
    database
        .fetch_optional(&BY_EMAIL, (email.canonical(),))
        .await
}

/// Up to `limit` users behind a position, or from the start, from the projection only. They are in
/// the order of `created_at` and `id`, both descending; the place is found by these, and not by
/// counting rows.
///
/// # Errors
/// When the store can't tell.
pub async fn page(
    database: &Database,
    limit: u32,
    after: Option<Position>,
) -> Result<Page, StoreError> {
    let one_more = i64::from(limit) + 1;
    let users = match after {
        None => database.fetch_page(&FIRST_PAGE, (one_more,)).await?,
        Some(Position { created_at, id }) => {
            let behind = (one_more, Micros(created_at), id.as_uuid());
            database.fetch_page(&NEXT_PAGE, behind).await?
        }
    };
    Ok(Page::of_one_more(users, limit))
}
