//! Stored hashes made by bcrypt, which are verified in lanes: this service's own, and those of others.
//!
//! | text | bcrypt's input |
//! |---|---|
//! | `$bcrypt-sha256$v=2,t=2b,r=12$…` | base64(HMAC-SHA256(salt, password)): see [`bcrypt_sha256`](super::bcrypt_sha256) |
//! | `$bcrypt-sha256$2b,12$…`, also `2a` | base64(SHA-256(password)): passlib's first version |
//! | `bcrypt_sha256$$2b$12$…` | hexadecimal SHA-256(password): Django |
//! | `$2a$12$…`, `$2b$12$…`, `$2y$12$…` | the password, up to its first NUL and no more than 72 bytes |
//!
//! To add one, add it to [`Prehash`] and to [`split`].

use aws_lc_rs::constant_time;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bcrypt::Version;
use bcrypt_lanes::{Cost, Lane, MAX_PASSWORD};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::zeroize::Zeroizing;
use sha2::{Digest, Sha256};

use super::foreign::Refused;
use super::foreign::text::number;
use crate::domain::PresentedPassword;

/// What precedes the cost in version 2 of passlib's format, the one of new hashes.
pub const PREFIX: &str = "$bcrypt-sha256$v=2,t=2b,r=";

/// What precedes bcrypt's variant in version 1 of that format.
const PREFIX_1: &str = "$bcrypt-sha256$";

/// What precedes bcrypt's text in Django's format.
const PREFIX_DJANGO: &str = "bcrypt_sha256$";

/// Characters of a salt in bcrypt's base64.
pub const SALT_CHARS: usize = 22;

/// Characters of salt and digest together.
pub const END_CHARS: usize = 53;

/// Bytes of a digest. bcrypt has left out its last byte from the start.
pub const DIGEST_BYTES: usize = 23;

/// The highest cost of a hash that another service made.
pub const MAX_FOREIGN_COST: u32 = 15;

/// What bcrypt hashes in place of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prehash {
    /// The password itself, as far as bcrypt in C reads it: to its first NUL, and 72 bytes at most.
    Cut,
    /// base64(HMAC-SHA256(salt, password)).
    HmacSha256,
    /// base64(SHA-256(password)).
    Sha256Base64,
    /// The hexadecimal digits of SHA-256(password).
    Sha256Hex,
}

impl Prehash {
    /// The input of bcrypt: 72 bytes at most.
    pub fn of(self, password: &[u8], salt: [u8; 16]) -> Zeroizing<Vec<u8>> {
        let text = match self {
            Self::Cut => {
                let end = password.iter().position(|byte| *byte == 0);
                let end = end.unwrap_or(password.len()).min(MAX_PASSWORD);
                return Zeroizing::new(password[..end].to_vec());
            }
            Self::HmacSha256 => STANDARD.encode(hmac(password, &encode_salt(salt))),
            Self::Sha256Base64 => STANDARD.encode(sha256(password)),
            Self::Sha256Hex => hex::encode(sha256(password)),
        };
        Zeroizing::new(text.into_bytes())
    }
}

/// The digest of a password, wiped when dropped.
fn sha256(password: &[u8]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(Sha256::digest(password).into())
}

fn hmac(password: &[u8], salt_text: &str) -> Zeroizing<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(salt_text.as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(password);
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// A stored hash that is verified in a lane.
///
/// It has no `PartialEq`, so that digests are compared in constant time only.
#[derive(Clone)]
pub struct BcryptHash {
    pub(super) prehash: Prehash,
    pub(super) cost: Cost,
    pub(super) salt: [u8; 16],
    pub(super) digest: [u8; DIGEST_BYTES],
    /// Whether no password matches, not even one with this digest.
    pub(super) is_dummy: bool,
}

impl BcryptHash {
    /// Reads any of the formats. The hashes of others have a cost of at most [`MAX_FOREIGN_COST`].
    ///
    /// Of the last characters of salt and digest, some bits encode nothing. They must be zero: in the
    /// format of new hashes the salt's text is a key, so two texts of one salt would be two hashes, and
    /// no library writes the other ones.
    ///
    /// # Errors
    /// [`Refused`]; `Unknown` if it is no hash by bcrypt.
    pub fn read(text: &str) -> Result<Self, Refused> {
        let (prehash, cost, end) = split(text)?;
        let (salt, digest) = end.split_at_checked(SALT_CHARS).ok_or(Refused::Malformed)?;
        let digest = match prehash {
            Prehash::HmacSha256 | Prehash::Sha256Base64 => digest.strip_prefix('$'),
            Prehash::Sha256Hex | Prehash::Cut => Some(digest),
        };
        Ok(Self {
            prehash,
            cost,
            salt: decode(salt).ok_or(Refused::Malformed)?,
            digest: digest.and_then(decode).ok_or(Refused::Malformed)?,
            is_dummy: false,
        })
    }

    /// A hash that takes the same work to verify, and that no password matches.
    ///
    /// # Panics
    /// When the cost is not 4 to 31.
    pub fn dummy(cost: u32, salt: [u8; 16]) -> Self {
        Self {
            prehash: Prehash::HmacSha256,
            cost: Cost::new(cost).expect("a cost of 4 to 31"),
            salt,
            digest: [0; DIGEST_BYTES],
            is_dummy: true,
        }
    }

    /// The cost that it was made with: verifying it is 2 to this power iterations.
    pub const fn cost(&self) -> u32 {
        self.cost.get()
    }

    /// Whether it is in the format of new hashes.
    pub fn is_own(&self) -> bool {
        self.prehash == Prehash::HmacSha256
    }

    /// Begins verifying a password in a lane.
    pub fn begin(&self, password: &PresentedPassword) -> Lane {
        let input = self.prehash.of(password.expose_bytes(), self.salt);
        Lane::new(&input, self.salt, self.cost).expect("72 bytes at most")
    }

    /// Takes the verdict out of a lane of [`BcryptHash::begin`]: whether the password is the one of
    /// this hash.
    ///
    /// # Errors
    /// The lane, if it is not done.
    pub fn finish(&self, lane: Lane) -> Result<bool, Lane> {
        let hash = lane.finish()?;
        Ok(self.matches(&hash.digest()[..DIGEST_BYTES]))
    }

    /// Verifies a password with the crate `bcrypt`. Its duration depends on the cost: call it on a
    /// hashing thread.
    pub fn verify(&self, password: &PresentedPassword) -> bool {
        let input = self.prehash.of(password.expose_bytes(), self.salt);
        let made = bcrypt_text(&input, self.cost(), self.salt);
        let digest = made.get(made.len() - END_CHARS + SALT_CHARS..);
        let digest: Option<[u8; DIGEST_BYTES]> = digest.and_then(decode);
        digest.is_some_and(|digest| self.matches(&digest))
    }

    /// Compares in constant time.
    pub(super) fn matches(&self, digest: &[u8]) -> bool {
        let is_equal = constant_time::verify_slices_are_equal(&self.digest, digest).is_ok();
        is_equal && !self.is_dummy
    }
}

/// The text of the crate `bcrypt`: `$2b$12$` + 22 characters of salt + 31 of digest.
pub fn bcrypt_text(input: &[u8], cost: u32, salt: [u8; 16]) -> String {
    bcrypt::hash_with_salt(input, cost, salt)
        .expect("a cost of 4 to 31")
        .format_for_version(Version::TwoB)
}

/// The cost of a text that begins like a hash.
pub fn head(text: &str) -> Option<u32> {
    split(text).ok().map(|(_, cost, _)| cost.get())
}

/// The format and the cost of a text, and what follows them.
fn split(text: &str) -> Result<(Prehash, Cost, &str), Refused> {
    let (prehash, (cost, end)) = if let Some(rest) = text.strip_prefix(PREFIX) {
        let (cost, end) = rest.split_once('$').ok_or(Refused::Malformed)?;
        (Prehash::HmacSha256, (number(cost)?, end))
    } else if let Some(rest) = text.strip_prefix(PREFIX_1) {
        let variants = ["2a,", "2b,"];
        let rest = variants.iter().find_map(|of| rest.strip_prefix(of));
        let (cost, end) = rest
            .and_then(|rest| rest.split_once('$'))
            .ok_or(Refused::Malformed)?;
        (Prehash::Sha256Base64, (number(cost)?, end))
    } else if let Some(plain) = text.strip_prefix(PREFIX_DJANGO) {
        (Prehash::Sha256Hex, split_plain(plain)?)
    } else {
        (Prehash::Cut, split_plain(text)?)
    };
    let cost = Cost::new(cost).map_err(|_| Refused::OutOfBounds)?;
    if prehash != Prehash::HmacSha256 && cost.get() > MAX_FOREIGN_COST {
        return Err(Refused::OutOfBounds);
    }
    Ok((prehash, cost, end))
}

/// The cost of bcrypt's own text, and what follows it.
fn split_plain(text: &str) -> Result<(u32, &str), Refused> {
    let variants = ["$2b$", "$2a$", "$2y$"];
    let rest = variants.iter().find_map(|of| text.strip_prefix(of));
    let (cost, end) = rest
        .ok_or(Refused::Unknown)?
        .split_once('$')
        .ok_or(Refused::Malformed)?;
    Ok((two_digits(cost)?, end))
}

/// A cost of two digits, as bcrypt itself writes it.
fn two_digits(text: &str) -> Result<u32, Refused> {
    let is_digit = |byte: u8| byte.is_ascii_digit();
    if text.len() != 2 || !text.bytes().all(is_digit) {
        return Err(Refused::Malformed);
    }
    text.parse().map_err(|_| Refused::Malformed)
}

fn encode_salt(salt: [u8; 16]) -> String {
    bcrypt::BASE_64.encode(salt)
}

/// The bytes of bcrypt's base64, if they are this many and no bit is left over.
fn decode<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    // Its engine refuses padding, and bits that encode nothing unless they are zero.
    bcrypt::BASE_64.decode(text).ok()?.try_into().ok()
}
