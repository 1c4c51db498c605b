//! Password hashing: the port that commands use, the format, and the bounded pool behind it.
//!
//! A thread of the pool moves several hashes forward together, in lanes; `bcrypt_lanes` says why
//! this makes more of them. Passwords wait in a queue for each client network ([`queue`]), so that
//! nobody's crowd keeps out others.

pub mod bcrypt_sha256;
mod fair_queue;
mod known_answers;
mod pool;
mod queue;
mod worker;

use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::domain::{BrokenRule, Candidate, PasswordHash};
use crate::platform::client::Network;

pub use pool::Pool;

/// Hashes passwords, a bounded number at a time and never on an async thread.
#[async_trait]
pub trait PasswordHasher: Send + Sync {
    /// Estimates whether a password is guessable and, if not, hashes it under a new salt.
    ///
    /// The adapter MUST refuse at once what it does not expect to end by the deadline, and MUST
    /// NOT begin to hash for a caller that has dropped the future. While passwords of several
    /// networks wait it MUST serve these in turns; those without a network count as one. It MUST
    /// NOT estimate on the caller's thread.
    ///
    /// # Errors
    /// [`HashError`]; nothing of the password is kept either way.
    async fn hash(
        &self,
        password: Candidate,
        client: Option<Network>,
        deadline: Instant,
    ) -> Result<PasswordHash, HashError>;

    /// Whether a password of this client that came now would be taken, so that nothing need be
    /// done for one that would not.
    ///
    /// # Errors
    /// What [`PasswordHasher::hash`] would refuse it with.
    fn admits(&self, client: Option<Network>, deadline: Instant) -> Result<(), HashError>;
}

/// A password was not hashed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The password is among the first that an attacker would try.
    #[error(transparent)]
    Guessable(BrokenRule),
    /// Too many are waiting.
    #[error("too many passwords are waiting to be hashed")]
    Overloaded {
        /// When there should be room again.
        retry_after: Duration,
    },
    /// A defect: the hash was begun and came to nothing.
    #[error("a password could not be hashed")]
    Failed,
    /// The hashing threads have stopped.
    #[error("password hashing has stopped")]
    Stopped,
}
