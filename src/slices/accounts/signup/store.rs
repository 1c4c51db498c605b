//! The writes of a signup.

#[cfg(test)]
mod contract;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::{Email, Name, PasswordHash, UserId};
use crate::idempotency::{self, Execution, Recorded};
use crate::platform::database::{Database, End, Error, Micros, Statement, Transaction, UnitOfWork};
use crate::slices::accounts::history::{self, Circumstances, Event};
use crate::slices::user::User;

/// The values that commit together.
#[derive(Clone)]
pub struct NewAccount {
    /// The account's id.
    pub id: UserId,
    /// The event's id.
    pub event_id: Uuid,
    /// The user's name.
    pub name: Name,
    /// The user's display name.
    pub display_name: Name,
    /// The user's address.
    pub email: Email,
    /// The hash of the password.
    pub password_hash: PasswordHash,
    /// When the account was created, in whole microseconds.
    pub created_at: DateTime<Utc>,
    /// The correlation id of the request.
    pub correlation_id: String,
}

impl NewAccount {
    /// The event, for the history.
    fn event(&self) -> SignedUp<'_> {
        SignedUp {
            id: self.id.to_string(),
            name: self.name.as_str(),
            email: self.email.as_typed(),
            display_name: self.display_name.as_str(),
        }
    }

    fn circumstances(&self) -> Circumstances {
        Circumstances {
            event_id: self.event_id,
            user_id: self.id,
            at: self.created_at,
            correlation_id: self.correlation_id.clone(),
        }
    }

    /// The user, as the projection will have it.
    pub(super) fn view(&self) -> User {
        User {
            id: self.id,
            name: self.name.as_str().to_owned(),
            email: self.email.as_typed().to_owned(),
            display_name: self.display_name.as_str().to_owned(),
            created_at: self.created_at,
        }
    }
}

/// An account was created.
#[derive(Serialize)]
struct SignedUp<'a> {
    /// The new user's id.
    id: String,
    /// The name sent at signup.
    name: &'a str,
    /// The address as typed.
    email: &'a str,
    /// The display name.
    display_name: &'a str,
}

impl Event for SignedUp<'_> {
    const TYPE: &'static str = "user.signed_up";
}

/// The outcome of a signup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The account was created, with its row in the projection and its event.
    Created(User),
    /// The address has an account; nothing was written.
    EmailTaken,
}

impl idempotency::Outcome for Outcome {
    const VERSION: i16 = 1;
}

static INSERT_USER: Statement = Statement::new(
    "INSERT INTO users (id, name, email, email_canonical, password_hash, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (email_canonical) DO NOTHING",
);

static INSERT_USER_READ: Statement = Statement::new(
    "INSERT INTO users_read (id, name, email, email_canonical, display_name, created_at) \
     VALUES ($1, $2, $3, $4, $5, $6)",
);

/// The store of accounts.
pub struct SignupStore {
    database: Database,
}

impl SignupStore {
    /// Uses the accounts of this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// Writes one row each of `users`, `users_read` and `user_events`, in one transaction and in
    /// this lock order; and before them the record, if the execution has a key.
    ///
    /// It
    /// - writes all three rows or none, whatever fails and whenever the future is dropped;
    /// - returns [`Outcome::EmailTaken`] exactly when the canonical address has an account, also
    ///   when it lost a race for it;
    /// - records the outcome in the same transaction, also if the address has an account;
    /// - writes nothing and returns the recorded outcome if the key has one that has not expired,
    ///   also when it lost a race for it;
    /// - returns only after its writes are durable;
    /// - returns within a bounded time.
    ///
    /// # Errors
    /// When the outcome is not certain: the account may have been written.
    pub async fn sign_up(
        &self,
        account: NewAccount,
        execution: Execution,
    ) -> Result<Recorded<Outcome>, idempotency::Error> {
        execution
            .write(&self.database, CreateAccount(account))
            .await
    }
}

/// The unit of work that writes the rows of a signup.
struct CreateAccount(NewAccount);

impl UnitOfWork for CreateAccount {
    type Outcome = Outcome;

    const IS_PAID: bool = true;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Outcome>, Error> {
        let Self(account) = self;
        let (id, name, email) = (account.id.as_uuid(), account.name.as_str(), &account.email);
        let created_at = Micros(account.created_at);
        let user = (
            id,
            name,
            email.as_typed(),
            email.canonical(),
            account.password_hash.as_str(),
            created_at,
        );
        if transaction.execute(&INSERT_USER, user).await? == 0 {
            return Ok(End::Rollback(Outcome::EmailTaken));
        }
        let user_read = (
            id,
            name,
            email.as_typed(),
            email.canonical(),
            account.display_name.as_str(),
            created_at,
        );
        transaction.execute(&INSERT_USER_READ, user_read).await?;
        history::append(transaction, &account.circumstances(), account.event()).await?;
        Ok(End::Commit(Outcome::Created(account.view())))
    }
}
