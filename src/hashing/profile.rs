//! Algorithms with their parameters: the work that a stored hash takes to verify.

use super::bcrypt_hash;
use super::foreign::{Refused, argon2, pbkdf2, scrypt};

/// The characters at the beginning of a stored hash that have its whole profile.
pub const PROFILE_CHARS: i32 = 48;

/// Everything about a stored hash that its time of verification depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// In any of its formats: what precedes bcrypt takes microseconds.
    Bcrypt {
        /// 4 to 31: 2 to this power iterations.
        cost: u32,
    },
    /// Argon2id or Argon2i.
    Argon2(argon2::Parameters),
    /// scrypt, also Firebase's.
    Scrypt(scrypt::Parameters),
    /// PBKDF2.
    Pbkdf2(pbkdf2::Parameters),
}

impl Profile {
    /// The profile of a stored hash, by its first [`PROFILE_CHARS`] characters. `None` if it is no hash
    /// that is verified, such as `!`.
    #[must_use]
    pub fn of(beginning: &str) -> Option<Self> {
        if let Some(cost) = bcrypt_hash::head(beginning) {
            return Some(Self::Bcrypt { cost });
        }
        let known = |head: Result<Self, Refused>| head.ok();
        known(argon2::head(beginning).map(|(of, _)| Self::Argon2(of)))
            .or_else(|| known(pbkdf2::head(beginning).map(|(of, _)| Self::Pbkdf2(of))))
            .or_else(|| known(scrypt::head(beginning).map(|(of, _)| Self::Scrypt(of))))
            .or_else(|| known(scrypt::head_firebase(beginning).map(|(of, _)| Self::Scrypt(of))))
    }
}
