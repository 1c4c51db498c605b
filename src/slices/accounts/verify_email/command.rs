//! The command: the token, the password, the write.

use std::sync::Arc;
use std::time::Instant;

use secrecy::{ExposeSecret, SecretString};

use super::store::{Verification, VerifyEmailStore};
use crate::attempts::throttle::Subject;
use crate::attempts::{Attempt, AttemptError, Attempts, Claim};
use crate::domain::{PresentedPassword, StoreError};
use crate::hashing::Class;
use crate::platform::client::Network;
use crate::platform::clock::{Clock, Randomness, uuid_v7};
use crate::tokens::secrets::TokenSecrets;

/// Confirms the address of an account. It has no `Debug`, as it carries a password and a token.
pub struct VerifyEmail {
    /// The token of the mail.
    pub token: SecretString,
    /// The password of the account; `None` if the token alone is enough.
    pub password: Option<PresentedPassword>,
    /// The network whose share of hashing it uses.
    pub client: Option<Network>,
    /// The correlation id of the request.
    pub correlation_id: String,
    /// When the response is due.
    pub deadline: Instant,
}

/// The address is not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum VerifyEmailError {
    /// The token is none of this service.
    #[error("the token is invalid")]
    TokenInvalid,
    /// The token is too old, or a newer one has replaced it.
    #[error("the token has expired")]
    TokenExpired,
    /// The password is wrong. The token can be used again.
    #[error("the password is wrong")]
    InvalidCredentials,
    /// The password was not verified.
    #[error(transparent)]
    Attempt(#[from] AttemptError),
    /// The store failed; it may be confirmed all the same.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Handles [`VerifyEmail`].
pub struct VerifyEmailHandler {
    /// The accounts and tokens.
    pub store: VerifyEmailStore,
    /// The attempts at passwords.
    pub attempts: Attempts,
    /// The keys of tokens.
    pub secrets: Arc<TokenSecrets>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of ids.
    pub randomness: Arc<dyn Randomness>,
}

/// How often an account is looked up, if its hash changes while the password is verified.
const MAX_TRIES: usize = 2;

impl VerifyEmailHandler {
    /// Confirms the address. It can be repeated: a used token of a confirmed address is no error.
    ///
    /// # Errors
    /// See [`VerifyEmailError`].
    pub async fn handle(&self, command: VerifyEmail) -> Result<(), VerifyEmailError> {
        let token = command.token.expose_secret();
        let mut attempt = None;
        for _ in 0..MAX_TRIES {
            // Each time: a request beside this one may have used it.
            let link = self.store.link(token, &self.secrets).await?;
            let link = link.ok_or(VerifyEmailError::TokenInvalid)?;
            let account = self.store.account(link.grant.user).await?;
            let account = account.ok_or(VerifyEmailError::TokenInvalid)?;
            let now = self.clock.now();
            if link.used_at.is_some() && account.is_verified {
                return Ok(());
            }
            if !link.is_live(account.epoch, now) || account.address != link.grant.address {
                return Err(VerifyEmailError::TokenExpired);
            }
            let hash = account.password_hash;
            if let Some(password) = &command.password {
                let attempt = match &attempt {
                    Some(begun) => begun,
                    None => attempt.insert(self.begin(&command, &account.address).await?),
                };
                let verifying = attempt.verify(password.clone(), Some(&hash));
                if !verifying.await? {
                    return Err(VerifyEmailError::InvalidCredentials);
                }
            }
            let now = self.clock.now();
            let verification = Verification {
                grant: link.grant.clone(),
                password_hash: hash,
                subject: Subject::of(&account.address, None, &self.secrets),
                event_id: uuid_v7(now, self.randomness.as_ref()),
                correlation_id: command.correlation_id.clone(),
                at: now,
            };
            if self.store.verify(verification).await? {
                return Ok(());
            }
            // The hash has changed, or a request beside this one has used the token.
        }
        Err(VerifyEmailError::TokenExpired)
    }

    /// Begins an attempt at the password of the account with this address.
    async fn begin(
        &self,
        command: &VerifyEmail,
        address: &str,
    ) -> Result<Attempt<'_>, AttemptError> {
        let claim = Claim {
            address: address.to_owned(),
            device: None,
            class: Class::Account,
            client: command.client,
            deadline: command.deadline,
        };
        self.attempts.begin(claim).await
    }
}
