//! The port: what the slice wants of a store.

#[cfg(test)]
mod contract;
mod postgres;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::domain::{Email, StoreError, UserId, UserView};
use crate::platform::database::Database;

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
    pub users: Vec<UserView>,
    /// Whether there are more behind them.
    pub has_more: bool,
}

impl Page {
    /// Makes a page of rows that were read with a limit of one more than was asked for.
    fn of_one_more(mut users: Vec<UserView>, limit: u32) -> Self {
        let limit = limit as usize;
        let has_more = users.len() > limit;
        users.truncate(limit);
        Self { users, has_more }
    }
}

/// Finds users by their address, and lists them.
#[async_trait]
pub trait UserDirectory: Send + Sync {
    /// The user whose canonical address this is.
    ///
    /// The adapter MUST read `users_read` only.
    ///
    /// # Errors
    /// When the store can't tell.
    async fn by_email(&self, email: &Email) -> Result<Option<UserView>, StoreError>;

    /// Up to `limit` users behind a position, or from the start.
    ///
    /// The adapter MUST read `users_read` only, MUST order by `created_at` and `id`, both
    /// descending, and MUST find its place by them and not by counting rows.
    ///
    /// # Errors
    /// When the store can't tell.
    async fn page(&self, limit: u32, after: Option<Position>) -> Result<Page, StoreError>;
}

/// The adapter for the database in use.
#[must_use]
pub fn open(database: &Database) -> Arc<dyn UserDirectory> {
    match database {
        Database::Postgres { read, .. } => Arc::new(postgres::Store::new(read.clone())),
        Database::Sqlite { read, .. } => Arc::new(sqlite::Store::new(read.clone())),
    }
}
