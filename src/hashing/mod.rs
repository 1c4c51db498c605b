//! Password hashing and verification: the port used by commands, the format, and the bounded pool.
//!
//! A thread of the pool advances several hashes together, in lanes; `bcrypt_lanes` explains why
//! this increases throughput. Passwords wait in a queue per class of work and client network
//! ([`queue`]), so that a flood of logins does not keep out signups, nor one network the others.
//!
//! Accounts that were imported have the hashes of other services ([`foreign`]) until their first login.
//! What is not bcrypt cannot be advanced in slices, and has a thread of its own ([`alone`]).

mod alone;
mod bcrypt_hash;
pub mod bcrypt_sha256;
mod class;
mod class_queue;
mod fair_queue;
mod foreign;
mod known_answers;
mod pool;
mod profile;
mod profiles;
mod queue;
mod stored;
mod worker;

use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::domain::{BrokenRule, Candidate, PasswordHash, PresentedPassword};
use crate::platform::client::Network;
use crate::platform::limits::Limit;

pub use class::Class;
pub use foreign::Refused;
pub use pool::Pool;
pub use profile::{PROFILE_CHARS, Profile};
pub use profiles::Profiles;
pub use stored::StoredHash;

/// The limits that are kept here.
pub const LIMITS: &[&[Limit]] = &[queue::LIMITS, alone::LIMITS];

/// Hashes and verifies passwords, a bounded number at a time and never on an async thread.
///
/// The adapter MUST immediately refuse a password whose hash it does not expect to end by the
/// deadline, and MUST NOT begin to hash for a caller that has dropped the future. While
/// several classes wait, each MUST have its share of the work; while passwords of several networks
/// of a class wait it MUST serve these in turns; those without a network count as one.
#[async_trait]
pub trait PasswordHasher: Send + Sync {
    /// Estimates whether a password is guessable and, if not, hashes it under a new salt.
    ///
    /// It MUST NOT estimate on the caller's thread.
    ///
    /// # Errors
    /// [`HashError`]; no part of the password is kept either way.
    async fn hash(
        &self,
        password: Candidate,
        class: Class,
        client: Option<Network>,
        deadline: Instant,
    ) -> Result<PasswordHash, HashError>;

    /// Whether a presented password is the one that was hashed.
    ///
    /// It takes as long whether or not it is, and as long for a [`StoredHash::dummy`] of the same
    /// profile. No rule for new passwords is applied.
    ///
    /// # Errors
    /// [`HashError`], never `Guessable`; no part of the password is kept either way.
    async fn verify(
        &self,
        password: PresentedPassword,
        stored: StoredHash,
        class: Class,
        client: Option<Network>,
        deadline: Instant,
    ) -> Result<bool, HashError>;

    /// Whether a password of this class and client would be accepted, at the cost of new hashes, so
    /// that no work is done for one that would not.
    ///
    /// # Errors
    /// The error with which [`PasswordHasher::hash`] or [`PasswordHasher::verify`] would refuse it.
    fn admits(
        &self,
        class: Class,
        client: Option<Network>,
        deadline: Instant,
    ) -> Result<(), HashError>;

    /// Whether a lane is free that no password waits for.
    fn has_free_lane(&self) -> bool;
}

/// A password was not hashed or verified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The password is too easy to guess, or known from a breach.
    #[error(transparent)]
    Guessable(BrokenRule),
    /// Too many passwords are waiting.
    #[error("too many passwords are waiting to be hashed")]
    Overloaded {
        /// When there should be room again.
        retry_after: Duration,
    },
    /// Too many logins of the client's network are waiting.
    #[error("too many logins of one network are waiting")]
    NetworkBusy {
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
