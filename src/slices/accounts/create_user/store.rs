//! The write of the slice.

use serde::{Deserialize, Serialize};

use crate::access::change::Change;
use crate::domain::UserId;
use crate::idempotency;
use crate::platform::database::{End, Error, Transaction, UnitOfWork};
use crate::slices::accounts::new_account::{self, NewAccount};
use crate::slices::user::User;

/// The outcome of making an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The account was created.
    Created(User),
    /// The address has an account; nothing was written.
    EmailTaken,
    /// The account was created, and has been erased since.
    AccountErased,
    /// The credential of the caller is no longer good; nothing was written.
    CallerEnded,
}

impl idempotency::Outcome for Outcome {
    const VERSION: i16 = 1;

    fn is_final(&self) -> bool {
        !matches!(self, Self::CallerEnded)
    }

    fn subject(&self) -> Option<UserId> {
        match self {
            Self::Created(user) => Some(user.id),
            Self::EmailTaken | Self::AccountErased | Self::CallerEnded => None,
        }
    }
}

/// An account to make.
pub struct CreateUser {
    /// The account.
    pub account: NewAccount,
    /// The circumstances.
    pub change: Change,
}

impl UnitOfWork for CreateUser {
    type Outcome = Outcome;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Outcome>, Error> {
        let Self { account, change } = self;
        if !change.is_authorized(transaction).await? {
            return Ok(End::Rollback(Outcome::CallerEnded));
        }
        if !new_account::insert(transaction, account).await? {
            return Ok(End::Rollback(Outcome::EmailTaken));
        }
        Ok(End::Commit(Outcome::Created(account.view())))
    }
}
