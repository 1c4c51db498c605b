//! Argon2 (RFC 9106): `$argon2id$v=19$m=65536,t=3,p=4$<salt>$<digest>`, and the same with `argon2i`.
//!
//! The version is 16 where it is missing. Argon2d is not taken: no library makes password hashes by it
//! unless it is asked to.

use argon2::{Algorithm, Argon2, Params, Version};

use super::text::{base64, number, parts, three, to_base64};
use super::{ForeignHash, NotDone, Refused};
use crate::hashing::profile::Profile;

/// The most memory, in KiB: 256 MiB.
pub const MAX_MEMORY: u32 = 256 * 1024;

/// The most passes over the memory.
const MAX_PASSES: u32 = 10;

/// The most lanes. They are computed one after the other.
const MAX_LANES: u32 = 8;

/// The shortest salt of Argon2, in bytes.
const MIN_SALT: usize = 8;

/// Parameters within their bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parameters {
    /// Whether it is Argon2id, and not Argon2i.
    is_hybrid: bool,
    /// Whether it is version 19, and not 16.
    is_current: bool,
    /// In KiB.
    memory: u32,
    passes: u32,
    lanes: u32,
}

impl Parameters {
    /// Checks the bounds.
    ///
    /// # Errors
    /// When they are broken; malformed if there is no such variant or version.
    pub fn new(
        variant: &str,
        version: u32,
        [memory, passes, lanes]: [u32; 3],
    ) -> Result<Self, Refused> {
        let is_hybrid = match variant {
            "id" => true,
            "i" => false,
            _ => return Err(Refused::Unknown),
        };
        let is_current = match version {
            19 => true,
            16 => false,
            _ => return Err(Refused::Malformed),
        };
        let is_bounded = (1..=MAX_LANES).contains(&lanes)
            && (8 * lanes..=MAX_MEMORY).contains(&memory)
            && (1..=MAX_PASSES).contains(&passes);
        if !is_bounded {
            return Err(Refused::OutOfBounds);
        }
        Ok(Self {
            is_hybrid,
            is_current,
            memory,
            passes,
            lanes,
        })
    }

    /// What verifying takes, relative to others by Argon2.
    pub fn work(&self) -> u64 {
        u64::from(self.memory) * u64::from(self.passes)
    }

    fn variant(&self) -> &'static str {
        if self.is_hybrid { "id" } else { "i" }
    }

    fn version(&self) -> u32 {
        if self.is_current { 19 } else { 16 }
    }
}

/// Reads the parameters of a text that begins with `$argon2`. Returns also what follows them.
///
/// # Errors
/// See [`Refused`].
pub fn head(text: &str) -> Result<(Parameters, &str), Refused> {
    let rest = text.strip_prefix("$argon2").ok_or(Refused::Unknown)?;
    let (variant, rest) = rest.split_once('$').ok_or(Refused::Malformed)?;
    let (version, rest) = match rest.strip_prefix("v=") {
        Some(rest) => rest.split_once('$').ok_or(Refused::Malformed)?,
        None => ("16", rest),
    };
    let (costs, end) = rest.split_once('$').ok_or(Refused::Malformed)?;
    let costs = three(costs, ["m", "t", "p"])?;
    let parameters = Parameters::new(variant, number(version)?, costs)?;
    Ok((parameters, end))
}

/// Reads a text of the PHC string format.
///
/// # Errors
/// See [`Refused`].
pub fn read(text: &str) -> Result<ForeignHash, Refused> {
    let (parameters, end) = head(text)?;
    let [salt, digest] = parts(end)?;
    new(parameters, base64(salt)?, base64(digest)?)
}

/// A hash of these parameters.
///
/// # Errors
/// When salt or digest are too short or too long.
pub fn new(parameters: Parameters, salt: Vec<u8>, digest: Vec<u8>) -> Result<ForeignHash, Refused> {
    if salt.len() < MIN_SALT {
        return Err(Refused::OutOfBounds);
    }
    ForeignHash::new(Profile::Argon2(parameters), salt, digest)
}

/// The version by the name that Keycloak has for it.
///
/// # Errors
/// When there is none of that name.
pub fn version_named(name: &str) -> Result<u32, Refused> {
    match name {
        "1.3" => Ok(19),
        "1.0" => Ok(16),
        _ => Err(Refused::Malformed),
    }
}

/// The text of the PHC string format.
pub fn text(of: &Parameters, hash: &ForeignHash) -> String {
    let Parameters {
        memory,
        passes,
        lanes,
        ..
    } = of;
    let (variant, version) = (of.variant(), of.version());
    let (salt, digest) = (to_base64(&hash.salt), to_base64(&hash.digest));
    format!("$argon2{variant}$v={version}$m={memory},t={passes},p={lanes}${salt}${digest}")
}

/// The digest of a password, as long as that of the hash.
///
/// # Errors
/// When there is no memory.
pub fn digest(of: &Parameters, hash: &ForeignHash, password: &[u8]) -> Result<Vec<u8>, NotDone> {
    let algorithm = if of.is_hybrid {
        Algorithm::Argon2id
    } else {
        Algorithm::Argon2i
    };
    let version = if of.is_current {
        Version::V0x13
    } else {
        Version::V0x10
    };
    let mut digest = vec![0; hash.digest.len()];
    let parameters = Params::new(of.memory, of.passes, of.lanes, Some(digest.len()));
    let parameters = parameters.map_err(|_| NotDone)?;
    Argon2::new(algorithm, version, parameters)
        .hash_password_into(password, &hash.salt, &mut digest)
        .map_err(|_| NotDone)?;
    Ok(digest)
}
