//! The account whose password is changed, and the write.

#[cfg(test)]
mod contract;

use serde::{Deserialize, Serialize};

use crate::access::account::{end_other_sessions, revoke_tokens};
use crate::access::change::Change;
use crate::access::{UserCaller, auth_log, history, live};
use crate::attempts::throttle::{self, Subject};
use crate::domain::{EndReason, PasswordHash, StoreError, TokenEpoch, UserId};
use crate::idempotency::{self, Execution, Recorded};
use crate::mail::links;
use crate::mail::queue::{self, Kind, NewMail};
use crate::platform::database::{
    Database, End, Error, FromRow, Micros, Row, Statement, Transaction, UnitOfWork,
};
use crate::slices::accounts::password_changed::PasswordChanged;

/// An account, as a change of its password needs it.
pub struct Account {
    /// The names and the address, which are no password.
    pub words: [String; 3],
    /// The canonical address.
    pub address: String,
    /// The stored hash.
    pub password_hash: String,
}

impl FromRow for Account {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        Ok(Self {
            words: [
                row.get("name")?,
                row.get("display_name")?,
                row.get("email")?,
            ],
            address: row.get("email_canonical")?,
            password_hash: row.get("password_hash")?,
        })
    }
}

static ACCOUNT: Statement = Statement::new(
    "SELECT r.name, r.display_name, r.email, u.email_canonical, u.password_hash FROM users u \
     JOIN users_read r ON r.id = u.id WHERE u.id = $1",
);

static SET_PASSWORD: Statement = Statement::new(
    "UPDATE users SET password_hash = $3, password_changed_at = $4, token_epoch = token_epoch + 1, \
     version = version + 1, updated_at = $4 WHERE id = $1 AND password_hash = $2 \
     RETURNING version, token_epoch",
);

static PROJECT: Statement =
    Statement::new("UPDATE users_read SET updated_at = $2, version = $3 WHERE id = $1");

/// Of a session that is live.
static PASSWORD: Statement = Statement::new(
    "SELECT u.password_hash FROM users u JOIN sessions s ON s.user_id = u.id \
     WHERE s.id = $1 AND s.ended_at IS NULL",
);

/// The outcome of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The password is changed; access tokens of the user with a lower epoch are not accepted any more.
    Done(UserId, TokenEpoch),
    /// The password is not the one that was verified; nothing was written.
    ChangedMeanwhile,
    /// The session of the caller has ended; nothing was written.
    CallerEnded,
}

impl idempotency::Outcome for Outcome {
    const VERSION: i16 = 1;

    fn is_final(&self) -> bool {
        matches!(self, Self::Done(..))
    }
}

/// A password to set.
pub struct NewPassword {
    /// Who sets it.
    pub caller: UserCaller,
    /// The circumstances.
    pub change: Change,
    /// The hash that the current password was verified against.
    pub verified: String,
    /// The hash of the new one.
    pub password_hash: PasswordHash,
    /// Whose failures are forgotten.
    pub subject: Subject,
    /// Whether a mail says so.
    pub sends_mail: bool,
}

/// The store of changes.
pub struct ChangePasswordStore {
    database: Database,
}

impl ChangePasswordStore {
    /// Uses the accounts of this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// The account of a user, from the primary.
    ///
    /// # Errors
    /// When the store is unavailable, or reports an error.
    pub async fn account(&self, user: UserId) -> Result<Option<Account>, StoreError> {
        self.database
            .fetch_latest(&ACCOUNT, (user.as_uuid(),))
            .await
    }

    /// Sets the password, ends the other sessions, voids all links but the one that restores an address, and
    /// adds the mail, in one transaction.
    ///
    /// # Errors
    /// When the outcome is not certain.
    pub async fn change(
        &self,
        new: NewPassword,
        execution: Execution,
    ) -> Result<Recorded<Outcome>, idempotency::Error> {
        execution.write(&self.database, new).await
    }
}

impl NewPassword {
    /// Why the caller may not. A change beside this one by the same session leaves the session live, and
    /// its access token of an earlier epoch.
    async fn refused(&self, transaction: &mut Transaction) -> Result<Outcome, Error> {
        let session = self.caller.session.as_uuid();
        let found: Option<(String,)> = transaction.fetch_optional(&PASSWORD, (session,)).await?;
        Ok(match found {
            Some((hash,)) if hash != self.verified => Outcome::ChangedMeanwhile,
            _ => Outcome::CallerEnded,
        })
    }
}

impl UnitOfWork for NewPassword {
    type Outcome = Outcome;

    /// The password was verified.
    const IS_PAID: bool = true;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Outcome>, Error> {
        let Self { caller, change, .. } = self;
        let (user, at) = (caller.user, Micros(change.at));
        if !live::check_alone(transaction, caller, change.at).await? {
            return Ok(End::Rollback(self.refused(transaction).await?));
        }
        let row = (
            user.as_uuid(),
            self.verified.as_str(),
            self.password_hash.as_str(),
            at,
        );
        let changed: Option<(i32, i32)> = transaction.fetch_optional(&SET_PASSWORD, row).await?;
        let Some((version, epoch)) = changed else {
            return Ok(End::Rollback(Outcome::ChangedMeanwhile));
        };
        let epoch = TokenEpoch::new(epoch);
        transaction
            .execute(&PROJECT, (user.as_uuid(), at, version))
            .await?;
        let (but, reason) = (caller.session, EndReason::PasswordChanged);
        end_other_sessions(transaction, user, but, change, reason).await?;
        links::void_all(transaction, user, change.at).await?;
        revoke_tokens(transaction, user, epoch, change, "password_changed").await?;
        throttle::clear(transaction, &self.subject).await?;
        let event = PasswordChanged { by: "user" };
        history::append(transaction, &change.of(user), event).await?;
        if self.sends_mail {
            let notice = NewMail::notice(change.id(), Kind::PasswordChanged, user, change.at);
            queue::add(transaction, &notice).await?;
        }
        let subject = user.to_string();
        auth_log::append_change(transaction, change, "password_changed", &subject).await?;
        Ok(End::Commit(Outcome::Done(user, epoch)))
    }
}
