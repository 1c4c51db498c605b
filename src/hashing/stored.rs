//! Stored hashes, of whatever format.

use std::fmt;

use super::bcrypt_hash::{BcryptHash, MAX_FOREIGN_COST};
use super::foreign::{self, ForeignHash, MAX_TEXT, Refused, argon2, keycloak, pbkdf2, scrypt};
use super::profile::Profile;
use crate::domain::PasswordHash;

/// A hash that a presented password is compared with.
///
/// It has no `PartialEq`, so that digests are compared in constant time only, and shows nothing in
/// `Debug`.
#[derive(Clone)]
pub struct StoredHash(pub(super) Kind);

/// How a hash is verified.
#[derive(Clone)]
pub(super) enum Kind {
    /// In a lane.
    Lane(BcryptHash),
    /// On the thread for those that cannot be advanced in slices.
    Alone(Box<ForeignHash>),
}

impl StoredHash {
    /// Reads a hash as it is stored. `None` for anything else: another format or version, parameters
    /// out of bounds, or text that is cut or encoded in another way.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::read(text).ok()
    }

    /// Reads a hash of any format: see [`bcrypt_hash`](super::bcrypt_hash) and [`foreign`].
    ///
    /// # Errors
    /// Why it is refused.
    pub fn read(text: &str) -> Result<Self, Refused> {
        if text.len() > MAX_TEXT {
            return Err(Refused::OutOfBounds);
        }
        if foreign::is_weak(text) {
            return Err(Refused::Weak);
        }
        let hash = if text.starts_with('{') {
            keycloak::read(text)?
        } else if let Some(rest) = text.strip_prefix("pbkdf2_sha256$") {
            pbkdf2::read_django(rest)?
        } else if let Some(rest) = text.strip_prefix("scrypt$") {
            scrypt::read_django(rest)?
        } else if text.starts_with("argon2$argon2") {
            argon2::read(&text["argon2".len()..])?
        } else if text.starts_with("$argon2") {
            argon2::read(text)?
        } else if text.starts_with("$scrypt$") {
            scrypt::read(text)?
        } else if text.starts_with("$fbscrypt$") {
            scrypt::read_firebase(text)?
        } else if text.starts_with("$pbkdf2-") {
            pbkdf2::read(text)?
        } else {
            return BcryptHash::read(text).map(Kind::Lane).map(Self);
        };
        Ok(Self(Kind::Alone(Box::new(hash))))
    }

    /// Reads a hash that another service made. Returns it as it is to be stored.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn import(text: &str) -> Result<PasswordHash, Refused> {
        let stored = match Self::read(text)?.0 {
            Kind::Lane(hash) if hash.cost() > MAX_FOREIGN_COST => {
                return Err(Refused::OutOfBounds);
            }
            Kind::Lane(_) => None,
            Kind::Alone(hash) => hash.to_text(),
        };
        Ok(PasswordHash::new(stored.unwrap_or_else(|| text.to_owned())))
    }

    /// A hash that takes the same work to verify, and that no password matches.
    ///
    /// # Panics
    /// When the cost of bcrypt is not 4 to 31.
    #[must_use]
    pub fn dummy(profile: Profile, salt: [u8; 16]) -> Self {
        Self(match profile {
            Profile::Bcrypt { cost } => Kind::Lane(BcryptHash::dummy(cost, salt)),
            other => Kind::Alone(Box::new(ForeignHash::dummy(other, salt))),
        })
    }

    /// Whether it is in the format of new hashes, at this cost or a higher one.
    #[must_use]
    pub fn is_current(&self, cost: u32) -> bool {
        matches!(&self.0, Kind::Lane(hash) if hash.is_own() && hash.cost() >= cost)
    }

    /// The work that it takes to verify.
    #[must_use]
    pub fn profile(&self) -> Profile {
        match &self.0 {
            Kind::Lane(hash) => Profile::Bcrypt { cost: hash.cost() },
            Kind::Alone(hash) => hash.profile,
        }
    }
}

impl fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredHash(..)")
    }
}

#[cfg(test)]
mod tests;
