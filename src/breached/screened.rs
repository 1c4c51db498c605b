//! A password hasher that refuses what the settings refuse: short passwords, and breached ones.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use super::{Breached, rule};
use crate::domain::{BrokenRule, Candidate, PasswordHash, PresentedPassword, at_least};
use crate::hashing::{Class, HashError, PasswordHasher, StoredHash};
use crate::platform::client::Network;

/// Looks at each new password before it waits for its hash, and refuses short ones and those in the list.
pub struct Screened {
    hasher: Arc<dyn PasswordHasher>,
    list: Option<Arc<Breached>>,
    least: usize,
}

impl Screened {
    /// A hasher for passwords of at least so many characters that are not in the list, if there is one.
    #[must_use]
    pub const fn new(
        hasher: Arc<dyn PasswordHasher>,
        list: Option<Arc<Breached>>,
        least: usize,
    ) -> Self {
        Self {
            hasher,
            list,
            least,
        }
    }

    async fn refuses(&self, password: &[u8]) -> Result<(), BrokenRule> {
        at_least(password, self.least)?;
        match &self.list {
            Some(list) if list.has_new(password).await => Err(rule()),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl PasswordHasher for Screened {
    async fn hash(
        &self,
        password: Candidate,
        class: Class,
        client: Option<Network>,
        deadline: Instant,
    ) -> Result<PasswordHash, HashError> {
        if password.is_new() {
            self.refuses(password.expose_bytes())
                .await
                .map_err(HashError::Guessable)?;
        }
        self.hasher.hash(password, class, client, deadline).await
    }

    async fn verify(
        &self,
        password: PresentedPassword,
        stored: StoredHash,
        class: Class,
        client: Option<Network>,
        deadline: Instant,
    ) -> Result<bool, HashError> {
        let hasher = &self.hasher;
        hasher
            .verify(password, stored, class, client, deadline)
            .await
    }

    fn admits(
        &self,
        class: Class,
        client: Option<Network>,
        deadline: Instant,
    ) -> Result<(), HashError> {
        self.hasher.admits(class, client, deadline)
    }

    fn has_free_lane(&self) -> bool {
        self.hasher.has_free_lane()
    }
}
