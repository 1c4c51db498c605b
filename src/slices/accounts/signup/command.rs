//! The command: hash, then write once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::store::{NewAccount, Outcome, SignupStore};
use crate::domain::{Candidate, Email, Name, UserId};
use crate::hashing::{HashError, PasswordHasher};
use crate::idempotency::{self, Execution, Recorded};
use crate::platform::client::Network;
use crate::platform::clock::{Clock, Randomness, uuid_v7};

/// Make an account. It has no `Debug`: it carries a password.
pub struct SignUp {
    /// The user's name.
    pub name: Name,
    /// What to call the user.
    pub display_name: Name,
    /// The user's address.
    pub email: Email,
    /// The user's password. Whether it is guessable is found when it is hashed.
    pub password: Candidate,
    /// Whose share of hashing it takes.
    pub client: Option<Network>,
    /// What the request is part of; goes into the event.
    pub correlation_id: String,
    /// When the answer must be out.
    pub deadline: Instant,
}

/// A signup that came to nothing, or whose outcome is unknown.
#[derive(Debug, thiserror::Error)]
pub enum SignUpError {
    /// The password was not hashed, as it is guessable or for lack of time; nothing was written.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The write failed, or its key stands for something else; it may have been written all the same.
    #[error(transparent)]
    Write(#[from] idempotency::Error),
}

/// Handles [`SignUp`].
pub struct SignUpHandler {
    /// Hashes the password.
    pub hasher: Arc<dyn PasswordHasher>,
    /// Keeps the account.
    pub store: SignupStore,
    /// Says when it was made.
    pub clock: Arc<dyn Clock>,
    /// Makes the ids.
    pub randomness: Arc<dyn Randomness>,
    /// What is kept of a request's time for the write: the hash must end that much earlier.
    pub write_reserve: Duration,
}

impl SignUpHandler {
    /// Whether a signup of this client that must be answered by then would have its password
    /// hashed.
    ///
    /// # Errors
    /// Why it would be refused.
    pub fn admits(&self, client: Option<Network>, deadline: Instant) -> Result<(), SignUpError> {
        Ok(self.hasher.admits(client, self.hash_deadline(deadline))?)
    }

    fn hash_deadline(&self, deadline: Instant) -> Instant {
        deadline.checked_sub(self.write_reserve).unwrap_or(deadline)
    }

    /// Makes the account, whole or not at all.
    ///
    /// A taken address is found by the write itself, after the hash: so it costs the same time
    /// as a free one, and a race has one winner.
    ///
    /// # Errors
    /// See [`SignUpError`].
    pub async fn handle(
        &self,
        command: SignUp,
        execution: Execution,
    ) -> Result<Recorded<Outcome>, SignUpError> {
        // Dropped here, by a client that leaves, nothing has been written yet.
        let hash_deadline = self.hash_deadline(command.deadline);
        let hashing = self
            .hasher
            .hash(command.password, command.client, hash_deadline);
        let password_hash = hashing.await?;

        let now = self.clock.now();
        let account = NewAccount {
            id: UserId::new(uuid_v7(now, self.randomness.as_ref())),
            event_id: uuid_v7(now, self.randomness.as_ref()),
            name: command.name,
            display_name: command.display_name,
            email: command.email,
            password_hash,
            created_at: now,
            correlation_id: command.correlation_id,
        };

        Ok(self.store.sign_up(account, execution).await?)
    }
}
