//! The command: throttle, look-up, verification, session; the same work for every address.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use super::store::{Account, Begun, LoginStore, NewSession};
use crate::config::AuthSettings;
use crate::domain::{Email, Name, PresentedPassword, SessionId, StoreError};
use crate::hashing::{Class, Costs, HashError, PasswordHasher, StoredHash};
use crate::idempotency::IdempotencyKey;
use crate::platform::client::Network;
use crate::platform::clock::{Clock, Randomness, uuid_v7};
use crate::slices::sessions::auth_log::Entry;
use crate::slices::sessions::flight::{self, Flights};
use crate::slices::sessions::session::Session;
use crate::slices::sessions::throttle::Subject;
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
    /// There were too many failures, or another attempt takes too long.
    #[error("too many failed logins")]
    Throttled(Duration),
    /// The key was used by another login.
    #[error("the key was used by another login")]
    KeyReused,
    /// The password was not verified, for lack of time.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The store failed; a session may have begun all the same.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Handles [`LogIn`].
pub struct LogInHandler {
    /// The accounts and sessions.
    pub store: LoginStore,
    /// The password hasher.
    pub hasher: Arc<dyn PasswordHasher>,
    /// The keys of device tokens and subjects.
    pub secrets: Arc<TokenSecrets>,
    /// The attempts under way.
    pub flights: Arc<Flights>,
    /// The costs of the hashes in the table.
    pub costs: Arc<Costs>,
    /// The settings of sessions.
    pub settings: AuthSettings,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of ids and nonces.
    pub randomness: Arc<dyn Randomness>,
    /// The part of a request's time that is reserved for the write.
    pub write_reserve: Duration,
}

/// How long a wait is when the other attempt takes too long.
const BUSY: Duration = Duration::from_secs(1);

impl LogInHandler {
    /// Begins a session.
    ///
    /// # Errors
    /// See [`LogInError`].
    pub async fn handle(&self, command: LogIn) -> Result<LoggedIn, LogInError> {
        let address = command.email.canonical();
        let token = command.device_token.as_deref();
        let known = token.and_then(|text| device::verify(text, address, &self.secrets));
        let subject = Subject {
            hash: device::subject(address, known, &self.secrets),
            is_known_device: known.is_some(),
        };
        let class = if known.is_some() {
            Class::Known
        } else {
            Class::Login
        };
        let deadline = command.deadline;
        let hash_deadline = deadline.checked_sub(self.write_reserve).unwrap_or(deadline);
        // Without a look-up for one that would not be verified.
        self.hasher.admits(class, command.client, hash_deadline)?;
        let flight = self.flights.enter(subject.hash, flight::WAIT).await;
        let _flight = flight.ok_or(LogInError::Throttled(BUSY))?;
        let failures = self.store.failures(&subject, self.clock.now()).await?;
        if let Some(wait) = failures.wait(self.clock.now()) {
            return Err(LogInError::Throttled(wait.to_std().unwrap_or(BUSY)));
        }
        let account = self.store.account(address.to_owned()).await?;
        let stored = self.stored_hash(account.as_ref(), address);
        let verifying = self.hasher.verify(
            command.password,
            stored,
            class,
            command.client,
            hash_deadline,
        );
        let is_right = verifying.await?;
        let now = self.clock.now();
        let Some(account) = account.filter(|_| is_right) else {
            self.store.failed(&subject, failures, now).await?;
            return Err(LogInError::InvalidCredentials);
        };
        self.may_log_in(&account)?;
        let login_key = command.key.map(|key| {
            let user = account.user.id.as_uuid();
            let values: [&[u8]; 2] = [user.as_bytes(), key.expose().as_bytes()];
            self.secrets.mac(Purpose::LoginKey, &values)
        });
        let id = SessionId::new(uuid_v7(now, self.randomness.as_ref()));
        let (idle_until, expires_at) = self.life(now);
        let new = NewSession {
            id,
            nonce: self.randomness.bytes(),
            user: account.user.id,
            password_hash: account.password_hash.clone(),
            may_be_unverified: !self.settings.requires_verification,
            at: now,
            idle_until,
            expires_at,
            login_key,
            label: command.label.map(|label| label.as_str().to_owned()),
            subject,
            entry: Entry {
                id: uuid_v7(now, self.randomness.as_ref()),
                user: Some(account.user.id),
                session: Some(id),
                actor: "user",
                action: "login",
                outcome: "succeeded",
                network: command.network,
                correlation_id: command.correlation_id,
                at: now,
            },
            revocation_ids: std::array::from_fn(|_| uuid_v7(now, self.randomness.as_ref())),
            token_life: self.settings.access_token_ttl,
        };
        let (session, is_replay, ended) = match self.store.begin(new).await? {
            Begun::New(session, ended) => (session, false, ended),
            Begun::Same(session) => (session, true, Vec::new()),
            Begun::KeyReused => return Err(LogInError::KeyReused),
            Begun::Changed => return Err(LogInError::InvalidCredentials),
        };
        let device = known.unwrap_or_else(|| self.device_of(session.id));
        Ok(LoggedIn {
            session,
            account,
            device,
            is_replay,
            ended,
        })
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

    /// The hash to verify against: a dummy of the same work where there is none.
    fn stored_hash(&self, account: Option<&Account>, address: &str) -> StoredHash {
        let stored = account.and_then(|account| StoredHash::parse(&account.password_hash));
        stored.unwrap_or_else(|| {
            let values: [&[u8]; 2] = [b"dummy", address.as_bytes()];
            let address = self.secrets.mac(Purpose::Throttle, &values);
            let mut salt = [0; 16];
            salt.copy_from_slice(&address[16..]);
            StoredHash::dummy(self.costs.of(&address), salt)
        })
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
