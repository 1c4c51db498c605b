//! The command: throttle, verification, write.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::store::ReauthenticateStore;
use crate::access::UserCaller;
use crate::domain::{PresentedPassword, StoreError};
use crate::hashing::{Class, HashError, PasswordHasher, StoredHash};
use crate::platform::client::Network;
use crate::platform::clock::{Clock, Randomness, uuid_v7};
use crate::slices::sessions::auth_log::Entry;
use crate::slices::sessions::flight::{self, Flights};
use crate::slices::sessions::session::Session;
use crate::slices::sessions::throttle::Subject;
use crate::tokens::device::{self, DeviceId};
use crate::tokens::secrets::TokenSecrets;

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
    /// There were too many failures.
    #[error("too many failures")]
    Throttled(Duration),
    /// The password was not verified, for lack of time.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Handles [`Reauthenticate`].
pub struct ReauthenticateHandler {
    /// The accounts and sessions.
    pub store: ReauthenticateStore,
    /// The password hasher.
    pub hasher: Arc<dyn PasswordHasher>,
    /// The keys of subjects.
    pub secrets: Arc<TokenSecrets>,
    /// The attempts under way.
    pub flights: Arc<Flights>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of ids.
    pub randomness: Arc<dyn Randomness>,
    /// The part of a request's time that is reserved for the write.
    pub write_reserve: Duration,
}

/// How long a wait is when the other attempt takes too long.
const BUSY: Duration = Duration::from_secs(1);

impl ReauthenticateHandler {
    /// Makes the session fresh, and returns it.
    ///
    /// # Errors
    /// See [`ReauthenticateError`].
    pub async fn handle(&self, command: Reauthenticate) -> Result<Session, ReauthenticateError> {
        let (user, session) = (command.caller.user, command.caller.session);
        let account = self.store.account(user).await?;
        let account = account.ok_or(ReauthenticateError::Ended)?;
        // Each session is counted by itself: strangers cannot hold it up, nor can it guess for long.
        let device = DeviceId(*session.as_uuid().as_bytes());
        let subject = Subject {
            hash: device::subject(&account.address, Some(device), &self.secrets),
            is_known_device: true,
        };
        let flight = self.flights.enter(subject.hash, flight::WAIT).await;
        let _flight = flight.ok_or(ReauthenticateError::Throttled(BUSY))?;
        let failures = self.store.failures(&subject, self.clock.now()).await?;
        if let Some(wait) = failures.wait(self.clock.now()) {
            return Err(ReauthenticateError::Throttled(
                wait.to_std().unwrap_or(BUSY),
            ));
        }
        let Some(stored) = StoredHash::parse(&account.password_hash) else {
            return Err(ReauthenticateError::InvalidCredentials);
        };
        let deadline = command.deadline;
        let deadline = deadline.checked_sub(self.write_reserve).unwrap_or(deadline);
        let verifying = self.hasher.verify(
            command.password,
            stored,
            Class::Known,
            command.client,
            deadline,
        );
        let is_right = verifying.await?;
        let now = self.clock.now();
        if !is_right {
            self.store.failed(&subject, failures, now).await?;
            return Err(ReauthenticateError::InvalidCredentials);
        }
        let entry = Entry {
            id: uuid_v7(now, self.randomness.as_ref()),
            user: Some(user),
            session: Some(session),
            actor: "user",
            action: "reauthenticate",
            outcome: "succeeded",
            network: command.network,
            correlation_id: command.correlation_id,
            at: now,
        };
        let hash = account.password_hash;
        let session = self.store.refreshed(session, hash, subject, entry).await?;
        session.ok_or(ReauthenticateError::Ended)
    }
}
