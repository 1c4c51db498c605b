//! The port: what the signup command wants of a store.

#[cfg(test)]
mod contract;
mod postgres;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::{
    Answer, Email, Name, PasswordHash, Record, Recording, StoreError, UserId, UserSignedUp,
    UserView,
};
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

    /// The user, as the projection will have it.
    pub(super) fn view(&self) -> UserView {
        UserView {
            id: self.id,
            name: self.name.as_str().to_owned(),
            email: self.email.as_typed().to_owned(),
            display_name: self.display_name.as_str().to_owned(),
            created_at: self.created_at,
        }
    }
}

/// The answers to a signup, one of which its record keeps.
pub struct Answers {
    /// The account was made.
    pub created: Answer,
    /// The address has an account.
    pub email_taken: Answer,
}

/// What a store wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// The account, its row in the projection and its event.
    Account,
    /// Nothing but the record: the canonical address has an account.
    NothingEmailTaken,
    /// Nothing: the key has a record, which is this.
    NothingAlreadyAnswered(Record),
}

/// Keeps accounts.
#[async_trait]
pub trait SignupStore: Send + Sync {
    /// Writes the record, where there is one to keep, and one row each of `users`, `users_read`
    /// and `user_events`, in one transaction and in this lock order.
    ///
    /// The adapter MUST
    /// - write all three rows or none, whatever fails and whenever the future is dropped;
    /// - answer [`Written::NothingEmailTaken`] exactly when the canonical address has an account,
    ///   also when it lost a race for it;
    /// - keep in the record the answer to what it wrote, and write it in the same transaction, also
    ///   where the address has an account;
    /// - answer [`Written::NothingAlreadyAnswered`] and write nothing where the claim has a record
    ///   that has not expired, also when it lost a race for it;
    /// - have made it durable before it answers;
    /// - answer within a bounded time.
    ///
    /// # Errors
    /// Where the outcome is not certain, an error: it may then have been written.
    async fn sign_up(
        &self,
        account: &NewAccount,
        recording: Option<&Recording<Answers>>,
    ) -> Result<Written, StoreError>;
}

/// The adapter for the database in use.
#[must_use]
pub fn open(database: &Database) -> Arc<dyn SignupStore> {
    match database {
        Database::Postgres { write, .. } => Arc::new(postgres::Store::new(write.clone())),
        Database::Sqlite { write, .. } => Arc::new(sqlite::Store::new(write.clone())),
    }
}
