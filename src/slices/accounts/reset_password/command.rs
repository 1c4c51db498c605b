//! The command: the token, the hash of the new password, the write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret, SecretString};

use super::store::{NewPassword, Outcome, ResetPasswordStore};
use crate::attempts::throttle::Subject;
use crate::domain::{BrokenRule, Candidate, StoreError};
use crate::hashing::{Class, HashError, PasswordHasher};
use crate::idempotency::{self, Execution, Recorded};
use crate::mail::counts;
use crate::mail::queue::Kind;
use crate::platform::client::Network;
use crate::platform::clock::{Clock, Randomness};
use crate::tokens::secrets::TokenSecrets;

/// Sets another password. It has no `Debug`, as it carries a password and a token.
pub struct ResetPassword {
    /// The token of the mail.
    pub token: SecretString,
    /// The new password.
    pub password: SecretString,
    /// The network whose share of hashing it uses.
    pub client: Option<Network>,
    /// The network, as in the log.
    pub network: Option<String>,
    /// The correlation id of the request.
    pub correlation_id: String,
    /// When the response is due.
    pub deadline: Instant,
}

/// The password is not set, or whether it is is unknown.
#[derive(Debug, thiserror::Error)]
pub enum ResetPasswordError {
    /// The token is none of this service.
    #[error("the token is invalid")]
    TokenInvalid,
    /// The token is too old, or void.
    #[error("the token has expired")]
    TokenExpired,
    /// The token was used.
    #[error("the token was used")]
    TokenUsed,
    /// The new password breaks a rule.
    #[error(transparent)]
    Password(#[from] BrokenRule),
    /// The password was not hashed, for lack of time.
    #[error(transparent)]
    Hash(HashError),
    /// The store of tokens failed; nothing was written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The write failed, or its key belongs to another request; it may have been written all the
    /// same.
    #[error(transparent)]
    Write(#[from] idempotency::Error),
}

impl From<HashError> for ResetPasswordError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Guessable(rule) => Self::Password(rule),
            error => Self::Hash(error),
        }
    }
}

/// Handles [`ResetPassword`].
pub struct ResetPasswordHandler {
    /// The accounts and tokens.
    pub store: ResetPasswordStore,
    /// The password hasher.
    pub hasher: Arc<dyn PasswordHasher>,
    /// The keys of tokens.
    pub secrets: Arc<TokenSecrets>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of ids.
    pub randomness: Arc<dyn Randomness>,
    /// The part of a request's time that is reserved for the write.
    pub write_reserve: Duration,
}

impl ResetPasswordHandler {
    /// Sets the password.
    ///
    /// # Errors
    /// See [`ResetPasswordError`].
    pub async fn handle(
        &self,
        command: ResetPassword,
        execution: Execution,
    ) -> Result<Recorded<Outcome>, ResetPasswordError> {
        let token = command.token.expose_secret();
        let link = self.store.link(token, &self.secrets).await?;
        let link = link.ok_or(ResetPasswordError::TokenInvalid)?;
        let account = self.store.account(link.grant.user).await?;
        let account = account.ok_or(ResetPasswordError::TokenInvalid)?;
        if link.used_at.is_some() {
            return Err(ResetPasswordError::TokenUsed);
        }
        if !link.is_live(account.epoch, self.clock.now()) || account.address != link.grant.address {
            // A request beside this one may have used it since it was read.
            let link = self.store.link(token, &self.secrets).await?;
            return Err(match link {
                Some(link) if link.used_at.is_some() => ResetPasswordError::TokenUsed,
                _ => ResetPasswordError::TokenExpired,
            });
        }
        let about_the_user = account.words.each_ref().map(String::as_str);
        let password = Candidate::parse(command.password, &about_the_user)?;
        let deadline = command.deadline;
        let deadline = deadline.checked_sub(self.write_reserve).unwrap_or(deadline);
        let hashing = self
            .hasher
            .hash(password, Class::Account, command.client, deadline);
        let new = NewPassword {
            grant: link.grant,
            password_hash: hashing.await?,
            network: command.network,
            correlation_id: command.correlation_id,
            at: self.clock.now(),
            randomness: Arc::clone(&self.randomness),
            subject: Subject::of(&account.address, None, &self.secrets),
            mails: counts::Subject::new(&self.secrets, Kind::Reset, &account.address),
        };
        Ok(self.store.reset(new, execution).await?)
    }
}
