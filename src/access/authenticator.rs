//! Who calls: the caller of a credential.
//!
//! An access token is verified by its signature and times, then by what was revoked since; a service
//! key by its hash. Both are checked from memory: see [`feed`](super::feed).

use std::sync::Arc;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};

use super::feed::{Feed, ServiceKey, Standing};
use super::{Caller, ServiceCaller, UserCaller};
use crate::domain::{Role, StoreError};
use crate::lifecycle::Lifecycle;
use crate::platform::clock::Clock;
use crate::platform::errors::error_chain;
use crate::tokens::Tokens;
use crate::tokens::access_token::Refused;
use crate::tokens::service_key;

/// Why a credential is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It has expired.
    Expired,
    /// Its session has ended, or its account has changed.
    Revoked,
    /// Its account was erased.
    Erased,
    /// It is none of this service.
    Invalid,
}

impl Reason {
    /// The word for clients and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Erased => "erased",
            Self::Invalid => "invalid",
        }
    }
}

/// A credential has no caller.
#[derive(Debug, thiserror::Error)]
pub enum NotAuthenticated {
    /// It is not accepted.
    #[error("the credential is not accepted")]
    Refused(Reason),
    /// Whether it is accepted could not be found out.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Finds out who calls.
pub struct Authenticator {
    /// The keys of tokens.
    pub tokens: Arc<Tokens>,
    /// What was revoked, and what roles and service keys permit.
    pub feed: Arc<Feed>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Runs the writes of last uses.
    pub lifecycle: Lifecycle,
}

impl Authenticator {
    /// The caller with this credential: an access token or a service key.
    ///
    /// # Errors
    /// When it is not accepted, or the store is needed and unavailable.
    pub async fn authenticate(&self, credential: &str) -> Result<Caller, NotAuthenticated> {
        if credential.starts_with(service_key::PREFIX) {
            return self.service(credential).await.map(Caller::Service);
        }
        let claims = self.tokens.access.verify(credential).await;
        let claims = claims.map_err(|refused| {
            NotAuthenticated::Refused(match refused {
                Refused::Expired => Reason::Expired,
                Refused::Invalid => Reason::Invalid,
            })
        })?;
        let standing = self.feed.standing(claims.sid, claims.sub, claims.epoch);
        match standing.await? {
            Standing::Good => {}
            Standing::Revoked => return Err(NotAuthenticated::Refused(Reason::Revoked)),
            Standing::Erased => return Err(NotAuthenticated::Refused(Reason::Erased)),
        }
        let is_own = |role: &String| Role::built_in(role).is_none();
        if claims.roles.iter().any(is_own) {
            self.feed.ensure_lists().await?;
        }
        Ok(Caller::User(UserCaller {
            user: claims.sub,
            session: claims.sid,
            auth_time: claims.auth_time,
            epoch: claims.epoch,
            permissions: self
                .feed
                .permissions(claims.roles.iter().map(String::as_str)),
        }))
    }

    async fn service(&self, credential: &str) -> Result<ServiceCaller, NotAuthenticated> {
        let invalid = || NotAuthenticated::Refused(Reason::Invalid);
        let presented = service_key::Presented::parse(credential).ok_or_else(invalid)?;
        let id = presented.id.as_str();
        let secrets = &self.tokens.secrets;
        let is_genuine = |key: &ServiceKey| {
            let mut hashes = key.hashes.iter();
            hashes.any(|hash| presented.has_hash(hash, secrets))
        };
        self.feed.ensure_lists().await?;
        // One that was made or rotated a moment ago, on another instance, is looked up.
        let key = match self.feed.service_key(id) {
            Some(key) if is_genuine(&key) => key,
            _ => {
                let found = self.feed.look_up_key(id).await?;
                found.filter(is_genuine).ok_or_else(invalid)?
            }
        };
        self.record_use(id, &key);
        Ok(ServiceCaller {
            key: id.to_owned(),
            permissions: key.permissions,
        })
    }

    /// Records the day of a use, at its first one. A failure is harmless.
    fn record_use(&self, id: &str, key: &ServiceKey) {
        let now = self.clock.now();
        let today: DateTime<Utc> = now.duration_trunc(TimeDelta::days(1)).unwrap_or(now);
        if key.last_used_on.is_some_and(|day| day >= today) {
            return;
        }
        let (feed, id) = (Arc::clone(&self.feed), id.to_owned());
        if !feed.note_use(&id, today) {
            return;
        }
        self.lifecycle.spawn(async move {
            if let Err(error) = feed.record_use(&id, today).await {
                tracing::warn!(reason = error_chain(&error), "use of a key not recorded");
            }
        });
    }
}
