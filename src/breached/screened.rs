//! A password hasher that refuses breached passwords.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use super::{Breached, rule};
use crate::domain::{Candidate, PasswordHash, PresentedPassword};
use crate::hashing::{Class, HashError, PasswordHasher, StoredHash};
use crate::platform::client::Network;

/// Looks up each new password before it waits for its hash, and refuses those in the list.
pub struct Screened {
    hasher: Arc<dyn PasswordHasher>,
    list: Arc<Breached>,
}

impl Screened {
    /// A hasher for passwords that are not in the list.
    #[must_use]
    pub const fn new(hasher: Arc<dyn PasswordHasher>, list: Arc<Breached>) -> Self {
        Self { hasher, list }
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
        if password.is_new() && self.list.has_new(password.expose_bytes()) {
            return Err(HashError::Guessable(rule()));
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
