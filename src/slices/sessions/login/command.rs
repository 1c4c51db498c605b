//! The command: throttle, look-up, verification, session; the same work for every address.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};

use super::store::{Account, Begun, LoginStore, NewSession};
use crate::access::history::Circumstances;
use crate::attempts::throttle::Subject;
use crate::attempts::{AttemptError, Attempts, Claim};
use crate::breached::Breached;
use crate::config::AuthSettings;
use crate::domain::{Email, EndReason, Name, PresentedPassword, SessionId, StoreError};
use crate::hashing::Class;
use crate::idempotency::IdempotencyKey;
use crate::platform::client::Network;
use crate::platform::clock::{Clock, Randomness, uuid_v7};
use crate::slices::sessions::auth_log::Entry;
use crate::slices::sessions::end::Ending;
use crate::slices::sessions::session::Session;
use crate::tokens::device::{self, DeviceId};
use crate::tokens::secrets::{Purpose, TokenSecrets};

/// Logs a user in. It has no `Debug`, as it carries a password.
pub struct LogIn {
    /// The address.
    pub email: Email,
    /// The password.
    pub password: PresentedPassword,
    /// The device token that an earlier login returned.
    pub device_token: Option<String>,
    /// What the user calls the device.
    pub label: Option<Name>,
    /// The key of the request.
    pub key: Option<IdempotencyKey>,
    /// The network whose share of hashing it uses.
    pub client: Option<Network>,
    /// The network, as in the log.
    pub network: Option<String>,
    /// The correlation id of the request.
    pub correlation_id: String,
    /// When the response is due.
    pub deadline: Instant,
}

/// A session that began.
pub struct LoggedIn {
    /// The session.
    pub session: Session,
    /// The account, as it was looked up.
    pub account: Account,
    /// The device, which counts as known from now on.
    pub device: DeviceId,
    /// Whether an earlier attempt with the same key began it.
    pub is_replay: bool,
    /// Older sessions that ended, as there were too many.
    pub ended: Vec<SessionId>,
    /// Whether the password is known from a breach.
    pub is_breached: bool,
}

/// No session began, or whether one did is unknown.
#[derive(Debug, thiserror::Error)]
pub enum LogInError {
    /// The address has no account, or another password.
    #[error("the address has no account, or another password")]
    InvalidCredentials,
    /// The account is suspended.
    #[error("the account is suspended")]
    Suspended,
    /// The address has not been verified.
    #[error("the address has not been verified")]
    Unverified,
    /// The key was used by another login.
    #[error("the key was used by another login")]
    KeyReused,
    /// The password was not verified.
    #[error(transparent)]
    Attempt(#[from] AttemptError),
    /// The store failed; a session may have begun all the same.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Handles [`LogIn`].
pub struct LogInHandler {
    /// The accounts and sessions.
    pub store: LoginStore,
    /// The attempts at passwords.
    pub attempts: Attempts,
    /// The breached passwords, if there is a list of them.
    pub breached: Option<Arc<Breached>>,
    /// The keys of device tokens.
    pub secrets: Arc<TokenSecrets>,
    /// The settings of sessions.
    pub settings: AuthSettings,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of ids and nonces.
    pub randomness: Arc<dyn Randomness>,
}

/// How often an account is looked up, if its hash changes while the password is verified: another
/// login has hashed it again, or the password was changed.
const MAX_TRIES: usize = 2;

impl LogInHandler {
    /// Begins a session.
    ///
    /// # Errors
    /// See [`LogInError`].
    pub async fn handle(&self, command: LogIn) -> Result<LoggedIn, LogInError> {
        let address = command.email.canonical();
        let token = command.device_token.as_deref();
        let known = token.and_then(|text| device::verify(text, address, &self.secrets));
        let attempt = self.attempts.begin(Claim {
            address: address.to_owned(),
            device: known,
            class: if known.is_some() {
                Class::Known
            } else {
                Class::Login
            },
            client: command.client,
            deadline: command.deadline,
        });
        let attempt = attempt.await?;
        for _ in 0..MAX_TRIES {
            let account = self.store.account(address.to_owned()).await?;
            let account = account.filter(|found| !self.is_hidden(found));
            let stored = account.as_ref().map(|found| found.password_hash.as_str());
            let verifying = attempt.verify(command.password.clone(), stored);
            let is_right = verifying.await?;
            let Some(account) = account.filter(|_| is_right) else {
                return Err(LogInError::InvalidCredentials);
            };
            self.may_log_in(&account)?;
            let is_breached = self.is_breached(&command.password).await;
            let new = self.new_session(&command, &account, attempt.subject(), is_breached);
            let (session, is_replay, ended) = match self.store.begin(new).await? {
                Begun::New(session, ended) => (session, false, ended),
                Begun::Same(session) => (session, true, Vec::new()),
                Begun::KeyReused => return Err(LogInError::KeyReused),
                Begun::Changed => continue,
            };
            let hash = account.password_hash.clone();
            attempt.succeeded(account.user.id, hash, command.password);
            let device = known.unwrap_or_else(|| self.device_of(session.id));
            return Ok(LoggedIn {
                session,
                account,
                device,
                is_replay,
                ended,
                is_breached,
            });
        }
        Err(LogInError::InvalidCredentials)
    }

    fn new_session(
        &self,
        command: &LogIn,
        account: &Account,
        subject: Subject,
        is_breached: bool,
    ) -> NewSession {
        let now = self.clock.now();
        let user = account.user.id;
        let login_keys = command.key.as_ref().map_or_else(Vec::new, |key| {
            let id = user.as_uuid();
            let values: [&[u8]; 2] = [id.as_bytes(), key.expose().as_bytes()];
            self.secrets.macs(Purpose::LoginKey, &values)
        });
        let id = SessionId::new(uuid_v7(now, self.randomness.as_ref()));
        let (idle_until, expires_at) = self.life(now);
        NewSession {
            id,
            nonce: self.randomness.bytes(),
            user,
            password_hash: account.password_hash.clone(),
            may_be_unverified: !self.settings.requires_verification,
            at: now,
            idle_until,
            expires_at,
            login_key: login_keys.first().copied(),
            previous_login_key: login_keys.get(1).copied(),
            label: command
                .label
                .as_ref()
                .map(|label| label.as_str().to_owned()),
            subject,
            breached: is_breached.then(|| Circumstances {
                event_id: uuid_v7(now, self.randomness.as_ref()),
                user_id: user,
                at: now,
                correlation_id: command.correlation_id.clone(),
            }),
            entry: Entry {
                id: uuid_v7(now, self.randomness.as_ref()),
                user: Some(user),
                session: Some(id),
                actor: "user",
                action: "login",
                outcome: "succeeded",
                network: command.network.clone(),
                correlation_id: command.correlation_id.clone(),
                at: now,
            },
            ending: Ending {
                reason: EndReason::Revoked,
                action: "login",
                actor: "service",
                network: command.network.clone(),
                correlation_id: command.correlation_id.clone(),
                at: now,
                sends_mail: false,
                randomness: Arc::clone(&self.randomness),
            },
        }
    }

    /// Whether a password that was right is known from a breach. It is looked up for no other.
    async fn is_breached(&self, password: &PresentedPassword) -> bool {
        match &self.breached {
            Some(list) => list.has_known(password.expose_bytes()).await,
            None => false,
        }
    }

    /// The device that logged in first with this session: the same if the login is repeated.
    fn device_of(&self, session: SessionId) -> DeviceId {
        let session = session.as_uuid();
        let values: [&[u8]; 2] = [b"first session", session.as_bytes()];
        let mac = self.secrets.mac(Purpose::Device, &values);
        let mut id = [0; 16];
        id.copy_from_slice(&mac[..16]);
        DeviceId(id)
    }

    /// Whether an account is like none. Where a signup does not say whether the address was free, a login with
    /// its password must not say it either: who has signed up has not shown that the mailbox is theirs.
    const fn is_hidden(&self, account: &Account) -> bool {
        self.settings.uniform_signup && !account.is_verified
    }

    /// Whether an account whose password was right may log in.
    fn may_log_in(&self, account: &Account) -> Result<(), LogInError> {
        if account.is_suspended {
            return Err(LogInError::Suspended);
        }
        if self.settings.requires_verification && !account.is_verified {
            return Err(LogInError::Unverified);
        }
        Ok(())
    }

    /// When a session that begins now ends: if it is not used, and at the latest.
    fn life(&self, now: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
        let of = |life| TimeDelta::from_std(life).unwrap_or(TimeDelta::days(1));
        let expires_at = now + of(self.settings.session_max_age);
        let idle_until = now + of(self.settings.refresh_ttl);
        (idle_until.min(expires_at), expires_at)
    }
}
