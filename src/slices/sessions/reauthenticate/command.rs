//! The command: throttle, verification, write.

use std::sync::Arc;
use std::time::Instant;

use super::store::ReauthenticateStore;
use crate::access::UserCaller;
use crate::attempts::{AttemptError, Attempts, Claim};
use crate::domain::{PresentedPassword, StoreError};
use crate::hashing::Class;
use crate::platform::client::Network;
use crate::platform::clock::{Clock, Randomness, uuid_v7};
use crate::slices::sessions::auth_log::Entry;
use crate::slices::sessions::session::Session;
use crate::tokens::device::DeviceId;

/// Sends the password of the caller again. It has no `Debug`, as it carries a password.
pub struct Reauthenticate {
    /// The caller.
    pub caller: UserCaller,
    /// The password.
    pub password: PresentedPassword,
    /// The network whose share of hashing it uses.
    pub client: Option<Network>,
    /// The network, as in the log.
    pub network: Option<String>,
    /// The correlation id of the request.
    pub correlation_id: String,
    /// When the response is due.
    pub deadline: Instant,
}

/// The session is not fresh.
#[derive(Debug, thiserror::Error)]
pub enum ReauthenticateError {
    /// The password is wrong.
    #[error("the password is wrong")]
    InvalidCredentials,
    /// The session has ended, or the account has changed.
    #[error("the session has ended")]
    Ended,
    /// The password was not verified.
    #[error(transparent)]
    Attempt(#[from] AttemptError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Handles [`Reauthenticate`].
pub struct ReauthenticateHandler {
    /// The accounts and sessions.
    pub store: ReauthenticateStore,
    /// The attempts at passwords.
    pub attempts: Attempts,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of ids.
    pub randomness: Arc<dyn Randomness>,
}

/// How often an account is looked up, if its hash changes while the password is verified: a login has
/// hashed it again, or the password was changed.
const MAX_TRIES: usize = 2;

impl ReauthenticateHandler {
    /// Makes the session fresh, and returns it.
    ///
    /// # Errors
    /// See [`ReauthenticateError`].
    pub async fn handle(&self, command: Reauthenticate) -> Result<Session, ReauthenticateError> {
        let (user, session) = (command.caller.user, command.caller.session);
        let account = self.store.account(user).await?;
        let account = account.ok_or(ReauthenticateError::Ended)?;
        let attempt = self.attempts.begin(Claim {
            address: account.address,
            // Each session is counted by itself: strangers cannot hold it up, nor can it guess for
            // long.
            device: Some(DeviceId(*session.as_uuid().as_bytes())),
            class: Class::Account,
            client: command.client,
            deadline: command.deadline,
        });
        let attempt = attempt.await?;
        for _ in 0..MAX_TRIES {
            let account = self.store.account(user).await?;
            let hash = account.ok_or(ReauthenticateError::Ended)?.password_hash;
            let verifying = attempt.verify(command.password.clone(), Some(&hash));
            if !verifying.await? {
                return Err(ReauthenticateError::InvalidCredentials);
            }
            let now = self.clock.now();
            let entry = Entry {
                id: uuid_v7(now, self.randomness.as_ref()),
                user: Some(user),
                session: Some(session),
                actor: "user",
                action: "reauthenticate",
                outcome: "succeeded",
                network: command.network.clone(),
                correlation_id: command.correlation_id.clone(),
                at: now,
            };
            let subject = attempt.subject();
            let refreshed = self.store.refreshed(session, hash.clone(), subject, entry);
            if let Some(session) = refreshed.await? {
                attempt.succeeded(user, hash, command.password);
                return Ok(session);
            }
        }
        Err(ReauthenticateError::Ended)
    }
}
