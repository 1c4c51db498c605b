//! The queries of the slice.

#[cfg(test)]
mod contract;

use chrono::{DateTime, Utc};

use crate::domain::{Email, StoreError, UserId};
use crate::platform::database::{Database, Micros, PointRead, Statement};
use crate::slices::user::{User, users_read};

/// The position of a user in the list.
#[derive(Debug, Clone, Copy)]
pub struct Position {
    /// When the user was created.
    pub created_at: DateTime<Utc>,
    /// Orders users of the same microsecond.
    pub id: UserId,
}

/// A page of the list.
pub struct Page {
    /// At most as many as requested.
    pub users: Vec<User>,
    /// Whether more users follow.
    pub has_more: bool,
}

impl Page {
    /// Makes a page from rows that were read with a limit of one more than requested.
    fn of_one_more(mut users: Vec<User>, limit: u32) -> Self {
        let limit = limit as usize;
        let has_more = users.len() > limit;
        users.truncate(limit);
        Self { users, has_more }
    }
}

/// Reads every column of the projection, and no row.
pub static IS_READABLE: Statement = users_read!(
    "WHERE id IS NULL AND email_canonical IS NULL AND email_verified IS NULL AND status IS NULL \
     AND updated_at IS NULL AND version IS NULL"
);

static BY_EMAIL: PointRead<String, User> =
    PointRead::new(users_read!("WHERE email_canonical = $1"));

static FIRST_PAGE: Statement = users_read!("ORDER BY created_at DESC, id DESC LIMIT $1");

static NEXT_PAGE: Statement =
    users_read!("WHERE (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC LIMIT $1");

/// The user with this canonical address, from the projection only.
///
/// # Errors
/// When the store is unavailable, or reports an error.
pub async fn by_email(database: &Database, email: &Email) -> Result<Option<User>, StoreError> {
    let canonical = email.canonical().to_owned();
    database.fetch_by_key(&BY_EMAIL, canonical).await
}

/// Up to `limit` users after a position, or from the start, from the projection only. They are
/// ordered by `created_at` and `id`, both descending; the position is found by these values, and
/// not by counting rows.
///
/// # Errors
/// When the store is unavailable, or reports an error.
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
