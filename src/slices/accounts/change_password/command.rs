//! The command: the current password, the hash of the new one, the write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::store::{ChangePasswordStore, NewPassword, Outcome};
use crate::access::UserCaller;
use crate::access::change::Change;
use crate::attempts::{AttemptError, Attempts, Claim};
use crate::domain::{BrokenRule, Candidate, PresentedPassword, StoreError};
use crate::hashing::{Class, HashError, PasswordHasher};
use crate::idempotency::{self, Execution, Recorded};
use crate::platform::client::Network;
use crate::tokens::device::DeviceId;
use secrecy::SecretString;

/// Changes a password. It has no `Debug`, as it carries two.
pub struct ChangePassword {
    /// Who changes it.
    pub caller: UserCaller,
    /// The password until now.
    pub current: PresentedPassword,
    /// The password from now on.
    pub new: SecretString,
    /// The network whose share of hashing it uses.
    pub client: Option<Network>,
    /// The circumstances.
    pub change: Change,
    /// When the response is due.
    pub deadline: Instant,
}

/// The password is not changed, or whether it is is unknown.
#[derive(Debug, thiserror::Error)]
pub enum ChangePasswordError {
    /// The session of the caller has ended.
    #[error("the session has ended")]
    Ended,
    /// The current password is wrong.
    #[error("the password is wrong")]
    InvalidCredentials,
    /// The new password breaks a rule.
    #[error(transparent)]
    Password(#[from] BrokenRule),
    /// The current password was not verified.
    #[error(transparent)]
    Attempt(#[from] AttemptError),
    /// The new password was not hashed, for lack of time.
    #[error(transparent)]
    Hash(HashError),
    /// The store failed; nothing was written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The write failed, or its key belongs to another request; it may have been written all the
    /// same.
    #[error(transparent)]
    Write(#[from] idempotency::Error),
}

impl From<HashError> for ChangePasswordError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Guessable(rule) => Self::Password(rule),
            error => Self::Hash(error),
        }
    }
}

/// Handles [`ChangePassword`].
pub struct ChangePasswordHandler {
    /// The accounts.
    pub store: ChangePasswordStore,
    /// The attempts at passwords.
    pub attempts: Attempts,
    /// The password hasher.
    pub hasher: Arc<dyn PasswordHasher>,
    /// Whether mails go anywhere.
    pub sends_mail: bool,
    /// The part of a request's time that is reserved for the write.
    pub write_reserve: Duration,
}

impl ChangePasswordHandler {
    /// Changes the password.
    ///
    /// # Errors
    /// See [`ChangePasswordError`].
    pub async fn handle(
        &self,
        command: ChangePassword,
        execution: Execution,
    ) -> Result<Recorded<Outcome>, ChangePasswordError> {
        let ChangePassword { caller, change, .. } = command;
        let account = self.store.account(caller.user).await?;
        let account = account.ok_or(ChangePasswordError::Ended)?;
        let attempt = self.attempts.begin(Claim {
            address: account.address,
            // Each session is counted by itself, as when it sends the password again.
            device: Some(DeviceId(*caller.session.as_uuid().as_bytes())),
            class: Class::Account,
            client: command.client,
            deadline: command.deadline,
        });
        let attempt = attempt.await?;
        // Again, now that no other attempt is under way.
        let account = self.store.account(caller.user).await?;
        let account = account.ok_or(ChangePasswordError::Ended)?;
        let verifying = attempt.verify(command.current, Some(&account.password_hash));
        if !verifying.await? {
            return Err(ChangePasswordError::InvalidCredentials);
        }
        let about_the_user = account.words.each_ref().map(String::as_str);
        let password = Candidate::parse(command.new, &about_the_user)?;
        let deadline = command.deadline;
        let deadline = deadline.checked_sub(self.write_reserve).unwrap_or(deadline);
        let hashing = self
            .hasher
            .hash(password, Class::Account, command.client, deadline);
        let new = NewPassword {
            caller,
            change,
            verified: account.password_hash,
            password_hash: hashing.await?,
            subject: attempt.subject(),
            sends_mail: self.sends_mail,
        };
        Ok(self.store.change(new, execution).await?)
    }
}
