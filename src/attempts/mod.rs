//! Attempts at the password of an account, whatever operation asks for it.
//!
//! An [`Attempt`] does the same work for every address, whether it has an account or not: one at a
//! time per [`Subject`], the count of failures, a hash in a lane, and a write if it was wrong. So
//! guesses are bounded, and nothing shows which addresses have an account.

mod renewal;
pub mod throttle;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::dependencies::Dependencies;
use crate::domain::{PresentedPassword, StoreError, UserId};
use crate::hashing::{Class, HashError, PasswordHasher, Profiles, StoredHash};
use crate::mail::queue::{Kind, NewMail};
use crate::mail::seal;
use crate::platform::client::Network;
use crate::platform::clock::{Clock, Randomness, uuid_v7};
use crate::platform::limits::{Bound, Limit};
use crate::platform::turns::{Turn, Turns};
use crate::tokens::device::DeviceId;
use crate::tokens::secrets::{Mac, Purpose, TokenSecrets};
use renewal::Renewal;
use throttle::{Failures, Subject, Throttle};

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    throttle::LIMITS[0],
    throttle::LIMITS[1],
    Limit {
        what: "Wait for another login of the same address",
        bound: Bound::Time(WAIT),
        effect: "429 `login-throttled`",
    },
];

/// How long an attempt waits for the one before it: many guesses at once would all pass the throttle.
const WAIT: Duration = Duration::from_secs(2);

/// How long a wait is when the other attempt takes too long.
const BUSY: Duration = Duration::from_secs(1);

/// What attempts of an operation have in common.
pub struct Attempts {
    throttle: Throttle,
    turns: Arc<Turns<Mac>>,
    hasher: Arc<dyn PasswordHasher>,
    profiles: Arc<Profiles>,
    secrets: Arc<TokenSecrets>,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    /// Whether mails go anywhere.
    sends_mail: bool,
    renewal: Arc<Renewal>,
    /// The part of a request's time that is reserved for the write.
    write_reserve: Duration,
}

/// Whose password is tried, and by which request.
pub struct Claim {
    /// The canonical address.
    pub address: String,
    /// What the user is known to have logged in from: it is counted apart from strangers.
    pub device: Option<DeviceId>,
    /// Whose turn it is while several wait for a lane.
    pub class: Class,
    /// The network whose share of hashing it uses.
    pub client: Option<Network>,
    /// When the response is due.
    pub deadline: Instant,
}

/// The password was not verified. It may be right.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// There were too many failures, or another attempt takes too long.
    #[error("too many failures")]
    Throttled(Duration),
    /// There was no time for it.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The count of failures is not available.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An attempt under way. When it is dropped, the next one of the subject begins.
pub struct Attempt<'a> {
    attempts: &'a Attempts,
    claim: Claim,
    subject: Subject,
    failures: Failures,
    hash_deadline: Instant,
    _turn: Turn<Mac>,
}

impl Attempts {
    /// Attempts as the settings say.
    #[must_use]
    pub fn new(dependencies: &Dependencies) -> Self {
        let request_timeout = dependencies.settings.http.request_timeout;
        Self {
            throttle: Throttle::new(dependencies.database.clone()),
            turns: Arc::clone(&dependencies.attempts),
            hasher: Arc::clone(&dependencies.hasher),
            profiles: Arc::clone(&dependencies.profiles),
            secrets: Arc::clone(&dependencies.tokens.secrets),
            clock: Arc::clone(&dependencies.clock),
            randomness: Arc::clone(&dependencies.randomness),
            sends_mail: dependencies.delivery.is_some(),
            renewal: Arc::new(Renewal::new(dependencies)),
            write_reserve: request_timeout / 5,
        }
    }

    /// Begins an attempt, once the one before it of the same subject has ended.
    ///
    /// # Errors
    /// When there is no room for it, or the subject has to wait.
    pub async fn begin(&self, claim: Claim) -> Result<Attempt<'_>, AttemptError> {
        let deadline = claim.deadline;
        let hash_deadline = deadline.checked_sub(self.write_reserve).unwrap_or(deadline);
        // Without a look-up for one that would not be verified.
        self.hasher
            .admits(claim.class, claim.client, hash_deadline)?;
        let subject = Subject::of(&claim.address, claim.device, &self.secrets);
        let turn = self.turns.take(subject.hash, WAIT).await;
        let turn = turn.ok_or(AttemptError::Throttled(BUSY))?;
        let now = self.clock.now();
        let failures = self.throttle.find(&subject, now).await?;
        if let Some(wait) = failures.wait(now) {
            return Err(AttemptError::Throttled(wait.to_std().unwrap_or(BUSY)));
        }
        Ok(Attempt {
            attempts: self,
            claim,
            subject,
            failures,
            hash_deadline,
            _turn: turn,
        })
    }
}

impl Attempt<'_> {
    /// Whose failures are to be forgotten with the write that follows.
    #[must_use]
    pub const fn subject(&self) -> Subject {
        self.subject
    }

    /// Whether this is the password of the account with this stored hash; never if there is none, or
    /// it is `!`, which takes as long. A wrong password counts as a failure.
    ///
    /// # Errors
    /// See [`AttemptError`].
    pub async fn verify(
        &self,
        password: PresentedPassword,
        stored: Option<&str>,
    ) -> Result<bool, AttemptError> {
        let attempts = self.attempts;
        let real = stored.and_then(StoredHash::parse);
        let has_password = real.is_some();
        let hash = real.unwrap_or_else(|| self.dummy());
        let Claim { class, client, .. } = self.claim;
        let verifying = attempts
            .hasher
            .verify(password, hash, class, client, self.hash_deadline);
        let is_right = verifying.await? && has_password;
        if !is_right {
            let now = attempts.clock.now();
            let closes = self.failures.one_more_closes(self.subject.is_known_device);
            let mail = (closes && attempts.sends_mail).then(|| self.closed(now));
            let failed =
                attempts
                    .throttle
                    .failed(&self.subject, self.failures, mail.flatten(), now);
            failed.await?;
        }
        Ok(is_right)
    }

    /// The attempt has succeeded: its password replaces a stored hash of a lower cost or
    /// another format, beside the response, if a lane is free. Call it after the write that depends on the stored hash.
    pub fn succeeded(self, user: UserId, stored: String, password: PresentedPassword) {
        self.attempts.renewal.renew(user, stored, password);
    }

    /// The mail that logins are closed, for an address that may have no account: that is found out when
    /// it is sent, so that the failure is the same work for any address.
    fn closed(&self, now: DateTime<Utc>) -> Option<NewMail> {
        let id = uuid_v7(now, self.attempts.randomness.as_ref());
        let to_sealed = seal(&self.attempts.secrets, id, &self.claim.address)?;
        let kind = Kind::LoginClosedRequest;
        Some(NewMail::to_address(id, kind, to_sealed, now))
    }

    /// The hash to verify against where there is none: of the same work, and always the same one.
    fn dummy(&self) -> StoredHash {
        let values: [&[u8]; 2] = [b"dummy", self.claim.address.as_bytes()];
        let address = self.attempts.secrets.mac(Purpose::Throttle, &values);
        let mut salt = [0; 16];
        salt.copy_from_slice(&address[16..]);
        StoredHash::dummy(self.attempts.profiles.of(&address), salt)
    }
}
