//! The writes of a signup.

#[cfg(test)]
mod contract;

use serde::{Deserialize, Serialize};

use crate::domain::UserId;
use crate::idempotency::{self, Execution, Recorded};
use crate::mail::queue::{self, NewMail};
use crate::platform::database::{Database, End, Error, Transaction, UnitOfWork};
use crate::slices::accounts::new_account;
use crate::slices::user::User;

pub use crate::slices::accounts::new_account::NewAccount;

/// The outcome of a signup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The account was created, with its row in the projection and its event.
    Created(User),
    /// The address has an account; nothing was written.
    EmailTaken,
    /// The account was created, and has been erased since.
    AccountErased,
}

impl idempotency::Outcome for Outcome {
    const VERSION: i16 = 1;

    fn subject(&self) -> Option<UserId> {
        match self {
            Self::Created(user) => Some(user.id),
            Self::EmailTaken | Self::AccountErased => None,
        }
    }
}

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
    /// this lock order; and before them the record, if the execution has a key. If the address has an
    /// account, writes the mail `taken`, if there is one.
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
        taken: Option<NewMail>,
        execution: Execution,
    ) -> Result<Recorded<Outcome>, idempotency::Error> {
        execution
            .write(&self.database, CreateAccount { account, taken })
            .await
    }
}

/// The unit of work that writes the rows of a signup.
struct CreateAccount {
    account: NewAccount,
    /// The mail that is added if the address has an account.
    taken: Option<NewMail>,
}

impl UnitOfWork for CreateAccount {
    type Outcome = Outcome;

    const IS_PAID: bool = true;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Outcome>, Error> {
        let Self { account, taken } = self;
        if !new_account::insert(transaction, account).await? {
            let Some(mail) = taken else {
                return Ok(End::Rollback(Outcome::EmailTaken));
            };
            queue::add(transaction, mail).await?;
            return Ok(End::Commit(Outcome::EmailTaken));
        }
        Ok(End::Commit(Outcome::Created(account.view())))
    }
}
