//! Password hashing: the port used by commands, the format, and the bounded pool.
//!
//! A thread of the pool advances several hashes together, in lanes; `bcrypt_lanes` explains why
//! this increases throughput. Passwords wait in a queue per client network ([`queue`]), so that a
//! flood from one network does not keep out the others.

pub mod bcrypt_sha256;
mod fair_queue;
mod known_answers;
mod pool;
mod queue;
mod worker;

pub use queue::LIMITS;

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
    /// The adapter MUST immediately refuse a password whose hash it does not expect to end by the
    /// deadline, and MUST NOT begin to hash for a caller that has dropped the future. While
    /// passwords of several networks wait it MUST serve these in turns; those without a network
    /// count as one. It MUST NOT estimate on the caller's thread.
    ///
    /// # Errors
    /// [`HashError`]; no part of the password is kept either way.
    async fn hash(
        &self,
        password: Candidate,
        client: Option<Network>,
        deadline: Instant,
    ) -> Result<PasswordHash, HashError>;

    /// Whether a new password of this client would be accepted, so that no work is done for one
    /// that would not.
    ///
    /// # Errors
    /// The error with which [`PasswordHasher::hash`] would refuse it.
    fn admits(&self, client: Option<Network>, deadline: Instant) -> Result<(), HashError>;
}

/// A password was not hashed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The password is too easy to guess.
    #[error(transparent)]
    Guessable(BrokenRule),
    /// Too many passwords are waiting.
    #[error("too many passwords are waiting to be hashed")]
    Overloaded {
        /// When there should be room again.
        retry_after: Duration,
    },
    /// A defect: hashing began and failed.
    #[error("a password could not be hashed")]
    Failed,
    /// The hashing threads have stopped.
    #[error("password hashing has stopped")]
    Stopped,
}
