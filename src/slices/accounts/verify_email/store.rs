//! The account and the token of a verification, and its write.

#[cfg(test)]
mod contract;

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::access::history::{self, Circumstances, Event};
use crate::attempts::throttle::{self, Subject};
use crate::domain::{StoreError, TokenEpoch, UserId};
use crate::mail::links::{self, Link};
use crate::platform::database::{
    Database, End, Error, FromRow, Micros, Row, Statement, Transaction, UnitOfWork,
};
use crate::tokens::one_time::{Grant, Use};
use crate::tokens::secrets::TokenSecrets;

/// An account, as a verification needs it.
pub struct Account {
    /// The canonical address.
    pub address: String,
    /// The stored hash.
    pub password_hash: String,
    /// The epoch, which voids tokens.
    pub epoch: TokenEpoch,
    /// Whether the address has been verified.
    pub is_verified: bool,
}

impl FromRow for Account {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        let verified: Option<Micros> = row.get("email_verified_at")?;
        Ok(Self {
            address: row.get("email_canonical")?,
            password_hash: row.get("password_hash")?,
            epoch: TokenEpoch::new(row.get("token_epoch")?),
            is_verified: verified.is_some(),
        })
    }
}

static ACCOUNT: Statement = Statement::new(
    "SELECT email_canonical, password_hash, token_epoch, email_verified_at FROM users WHERE id = $1",
);

static VERIFY: Statement = Statement::new(
    "UPDATE users SET email_verified_at = $4, version = version + 1, updated_at = $4 \
     WHERE id = $1 AND email_canonical = $2 AND password_hash = $3 AND email_verified_at IS NULL \
     RETURNING version",
);

static PROJECT: Statement = Statement::new(
    "UPDATE users_read SET email_verified = TRUE, updated_at = $2, version = $3 WHERE id = $1",
);

/// The address of an account was verified.
#[derive(Serialize)]
struct EmailVerified {}

impl Event for EmailVerified {
    const TYPE: &'static str = "user.email_verified";
}

/// The store of verifications.
pub struct VerifyEmailStore {
    database: Database,
}

/// A verification to write.
pub struct Verification {
    /// The token.
    pub grant: Grant,
    /// The hash that the password was verified against.
    pub password_hash: String,
    /// Whose failures are forgotten.
    pub subject: Subject,
    /// The id of the event.
    pub event_id: Uuid,
    /// The correlation id of the request.
    pub correlation_id: String,
    /// When, in whole microseconds.
    pub at: DateTime<Utc>,
}

impl VerifyEmailStore {
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
        links::find(&self.database, text, &[Use::Verify], secrets).await
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

    /// Marks the address as verified and the token as used, with the event. Returns whether it did: not
    /// if the account has another hash or address by now, is verified, or the token was used.
    ///
    /// # Errors
    /// When the outcome is not certain: it can be repeated.
    pub async fn verify(&self, verification: Verification) -> Result<bool, StoreError> {
        self.database.write(verification).await
    }
}

impl UnitOfWork for Verification {
    type Outcome = bool;

    /// The password was verified.
    const IS_PAID: bool = true;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<bool>, Error> {
        let (user, at) = (self.grant.user, Micros(self.at));
        let (address, hash) = (self.grant.address.as_str(), self.password_hash.as_str());
        let row = (user.as_uuid(), address, hash, at);
        let changed: Option<(i32,)> = transaction.fetch_optional(&VERIFY, row).await?;
        let Some((version,)) = changed else {
            return Ok(End::Rollback(false));
        };
        transaction
            .execute(&PROJECT, (user.as_uuid(), at, version))
            .await?;
        if !links::use_up(transaction, self.grant.id, self.at).await? {
            return Ok(End::Rollback(false));
        }
        throttle::clear(transaction, &self.subject).await?;
        let circumstances = Circumstances {
            event_id: self.event_id,
            user_id: user,
            at: self.at,
            correlation_id: self.correlation_id.clone(),
        };
        history::append(transaction, &circumstances, EmailVerified {}).await?;
        Ok(End::Commit(true))
    }
}
