//! The port: what the slice wants of a store.

#[cfg(test)]
mod contract;
mod postgres;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;

use crate::domain::{StoreError, UserId, UserView};
use crate::platform::database::Database;

/// Finds users by their id.
#[async_trait]
pub trait UserStore: Send + Sync {
    /// The user with this id.
    ///
    /// The adapter MUST read `users_read` only, and MUST answer `None` where there is no such
    /// user.
    ///
    /// # Errors
    /// When the store can't tell.
    async fn by_id(&self, id: UserId) -> Result<Option<UserView>, StoreError>;
}

/// The adapter for the database in use.
#[must_use]
pub fn open(database: &Database) -> Arc<dyn UserStore> {
    match database {
        Database::Postgres { read, .. } => Arc::new(postgres::Store::new(read.clone())),
        Database::Sqlite { read, .. } => Arc::new(sqlite::Store::new(read.clone())),
    }
}
