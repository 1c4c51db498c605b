//! The account and the token of a reset, and its write.

#[cfg(test)]
mod contract;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::access::account::{end_sessions, revoke_tokens};
use crate::access::auth_log;
use crate::access::change::{Actor, Change};
use crate::access::history;
use crate::attempts::throttle::{self, Subject};
use crate::domain::{EndReason, PasswordHash, StoreError, TokenEpoch, UserId};
use crate::idempotency::{self, Execution, Recorded};
use crate::mail::counts;
use crate::mail::links::{self, Link};
use crate::mail::queue::{self, Kind, NewMail};
use crate::platform::clock::Randomness;
use crate::platform::database::{
    Database, End, Error, FromRow, Micros, Row, Statement, Transaction, UnitOfWork,
};
use crate::slices::accounts::password_changed::PasswordChanged;
use crate::tokens::one_time::{Grant, Use};
use crate::tokens::secrets::TokenSecrets;

/// An account, as a reset needs it.
pub struct Account {
    /// The names and the address, which are no password.
    pub words: [String; 3],
    /// The canonical address.
    pub address: String,
    /// The epoch, which voids tokens.
    pub epoch: TokenEpoch,
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
            epoch: TokenEpoch::new(row.get("token_epoch")?),
        })
    }
}

static ACCOUNT: Statement = Statement::new(
    "SELECT r.name, r.display_name, r.email, u.email_canonical, u.token_epoch FROM users u \
     JOIN users_read r ON r.id = u.id WHERE u.id = $1",
);

/// The mail has reached the owner of the address, so it counts as verified.
static SET_PASSWORD: Statement = Statement::new(
    "UPDATE users SET password_hash = $4, password_changed_at = $5, token_epoch = token_epoch + 1, \
     email_verified_at = coalesce(email_verified_at, $5), version = version + 1, updated_at = $5 \
     WHERE id = $1 AND email_canonical = $2 AND token_epoch = $3 RETURNING version, token_epoch",
);

static PROJECT: Statement = Statement::new(
    "UPDATE users_read SET email_verified = TRUE, updated_at = $2, version = $3 WHERE id = $1",
);

/// The outcome of a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The password is set; access tokens of the user with a lower epoch are not accepted any more.
    Done(UserId, TokenEpoch),
    /// Another request has used the token, or it has become void; nothing was written.
    TokenUsed,
}

impl idempotency::Outcome for Outcome {
    const VERSION: i16 = 1;
}

/// A password to set.
pub struct NewPassword {
    /// The token.
    pub grant: Grant,
    /// The hash of the password.
    pub password_hash: PasswordHash,
    /// The network of the client, as in the log.
    pub network: Option<String>,
    /// The correlation id of the request.
    pub correlation_id: String,
    /// When, in whole microseconds.
    pub at: DateTime<Utc>,
    /// The source of ids.
    pub randomness: Arc<dyn Randomness>,
    /// Whose failed logins are forgotten: those of strangers.
    pub subject: Subject,
    /// The mails that strangers may have asked for, which are forgotten as well.
    pub mails: counts::Subject,
}

/// The store of resets.
pub struct ResetPasswordStore {
    database: Database,
}

impl ResetPasswordStore {
    /// Uses the accounts and tokens of this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// The token that a client sent, from the primary.
    ///
    /// # Errors
    /// When the store is unavailable, or reports an error.
    pub async fn link(
        &self,
        text: &str,
        secrets: &TokenSecrets,
    ) -> Result<Option<Link>, StoreError> {
        links::find(
            &self.database,
            text,
            &[Use::Reset, Use::Recover, Use::SetPassword],
            secrets,
        )
        .await
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

    /// Sets the password, verifies the address, ends all sessions, voids all links and adds a mail to
    /// the user, in one transaction.
    ///
    /// # Errors
    /// When the outcome is not certain.
    pub async fn reset(
        &self,
        new: NewPassword,
        execution: Execution,
    ) -> Result<Recorded<Outcome>, idempotency::Error> {
        execution.write(&self.database, new).await
    }
}

impl NewPassword {
    fn change(&self) -> Change {
        Change {
            actor: Actor::User(self.grant.user),
            caller: None,
            at: self.at,
            correlation_id: self.correlation_id.clone(),
            network: self.network.clone(),
            randomness: Arc::clone(&self.randomness),
        }
    }
}

impl UnitOfWork for NewPassword {
    type Outcome = Outcome;

    const IS_PAID: bool = true;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Outcome>, Error> {
        let (user, at, change) = (self.grant.user, Micros(self.at), self.change());
        let row = (
            user.as_uuid(),
            self.grant.address.as_str(),
            self.grant.epoch.get(),
            self.password_hash.as_str(),
            at,
        );
        let changed: Option<(i32, i32)> = transaction.fetch_optional(&SET_PASSWORD, row).await?;
        let Some((version, epoch)) = changed else {
            return Ok(End::Rollback(Outcome::TokenUsed));
        };
        let epoch = TokenEpoch::new(epoch);
        transaction
            .execute(&PROJECT, (user.as_uuid(), at, version))
            .await?;
        end_sessions(transaction, user, &change, EndReason::PasswordChanged).await?;
        if !links::use_up(transaction, self.grant.id, self.at).await? {
            return Ok(End::Rollback(Outcome::TokenUsed));
        }
        links::void_all(transaction, user, self.at).await?;
        revoke_tokens(transaction, user, epoch, &change, "password_changed").await?;
        throttle::clear(transaction, &self.subject).await?;
        counts::forget(transaction, self.mails).await?;
        let event = PasswordChanged { by: "reset" };
        history::append(transaction, &change.of(user), event).await?;
        let notice = NewMail::notice(change.id(), Kind::PasswordChanged, user, self.at);
        queue::add(transaction, &notice).await?;
        let subject = user.to_string();
        auth_log::append_change(transaction, &change, "password_reset", &subject).await?;
        Ok(End::Commit(Outcome::Done(user, epoch)))
    }
}
