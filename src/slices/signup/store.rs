//! The port: what the signup command wants of a store.

#[cfg(test)]
mod contract;
mod postgres;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::{Email, Name, PasswordHash, StoreError, UserId, UserSignedUp, UserView};
use crate::platform::database::Database;

/// Everything that commits together.
pub struct NewAccount {
    /// The account's id.
    pub id: UserId,
    /// The event's id.
    pub event_id: Uuid,
    /// The user's name.
    pub name: Name,
    /// What to call the user.
    pub display_name: Name,
    /// The user's address.
    pub email: Email,
    /// What is kept of the password.
    pub password_hash: PasswordHash,
    /// When the account was made, in whole microseconds.
    pub created_at: DateTime<Utc>,
    /// What the request is part of.
    pub correlation_id: String,
}

impl NewAccount {
    /// The event, for the history.
    fn event(&self) -> UserSignedUp<'_> {
        UserSignedUp {
            id: self.id.to_string(),
            name: self.name.as_str(),
            email: self.email.as_typed(),
            display_name: self.display_name.as_str(),
        }
    }

    /// The user, as the projection has it now.
    pub(super) fn into_view(self) -> UserView {
        UserView {
            id: self.id,
            name: self.name.into_string(),
            email: self.email.into_typed(),
            display_name: self.display_name.into_string(),
            created_at: self.created_at,
        }
    }
}

/// What a store wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The account, its row in the projection and its event.
    Account,
    /// Nothing: the canonical address has an account.
    NothingEmailTaken,
}

/// Keeps accounts.
#[async_trait]
pub trait SignupStore: Send + Sync {
    /// Writes one row each of `users`, `users_read` and `user_events`, in one transaction and in
    /// this lock order.
    ///
    /// The adapter MUST
    /// - write all three rows or none, whatever fails and whenever the future is dropped;
    /// - answer [`Written::NothingEmailTaken`] exactly when the canonical address has an account,
    ///   also when it lost a race for it;
    /// - have made it durable before it answers;
    /// - answer within a bounded time.
    ///
    /// # Errors
    /// Where the outcome is not certain, an error: it may then have been written.
    async fn sign_up(&self, account: &NewAccount) -> Result<Written, StoreError>;
}

/// The adapter for the database in use.
#[must_use]
pub fn open(database: &Database) -> Arc<dyn SignupStore> {
    match database {
        Database::Postgres { write, .. } => Arc::new(postgres::Store::new(write.clone())),
        Database::Sqlite { write, .. } => Arc::new(sqlite::Store::new(write.clone())),
    }
}
