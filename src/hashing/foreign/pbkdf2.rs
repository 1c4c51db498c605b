//! PBKDF2 (RFC 8018) with HMAC-SHA-256 or HMAC-SHA-512: of passlib, `$pbkdf2-sha256$29000$<salt>$<digest>`;
//! of the PHC string format, `$pbkdf2-sha256$i=600000,l=32$<salt>$<digest>`; of Django,
//! `pbkdf2_sha256$600000$<salt>$<digest>`.

use pbkdf2::pbkdf2_hmac;
use sha2::{Sha256, Sha512};

use super::text::{ab64, base64, named, number, parts, to_ab64};
use super::{ForeignHash, MAX_DIGEST, Refused};
use crate::hashing::profile::Profile;

/// The most iterations.
const MAX_ITERATIONS: u32 = 5_000_000;

/// Parameters within their bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parameters {
    hash: Hash,
    iterations: u32,
}

/// What HMAC hashes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Hash {
    const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// What precedes the iterations.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Sha256 => "$pbkdf2-sha256$",
            Self::Sha512 => "$pbkdf2-sha512$",
        }
    }

    /// Bytes of its output. More of PBKDF2's would be more work for the service, and none for an
    /// attacker.
    const fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

impl Parameters {
    /// Checks the bounds.
    ///
    /// # Errors
    /// When they are broken.
    pub fn new(hash: Hash, iterations: u32) -> Result<Self, Refused> {
        if !(1..=MAX_ITERATIONS).contains(&iterations) {
            return Err(Refused::OutOfBounds);
        }
        Ok(Self { hash, iterations })
    }

    /// What verifying takes, relative to others by PBKDF2.
    pub fn work(self) -> u64 {
        // SHA-512 takes about twice as long for one iteration.
        u64::from(self.iterations) * u64::try_from(self.hash.length() / 32).unwrap_or(1)
    }
}

/// Reads the parameters of a text as it is stored. Returns also what follows them.
///
/// # Errors
/// See [`Refused`].
pub fn head(text: &str) -> Result<(Parameters, &str), Refused> {
    let (hash, rest) = prefix(text)?;
    let (iterations, end) = rest.split_once('$').ok_or(Refused::Malformed)?;
    Ok((Parameters::new(hash, number(iterations)?)?, end))
}

fn prefix(text: &str) -> Result<(Hash, &str), Refused> {
    let found = Hash::ALL.iter().find_map(|hash| {
        let rest = text.strip_prefix(hash.prefix())?;
        Some((*hash, rest))
    });
    found.ok_or(Refused::Unknown)
}

/// Reads the text of passlib, or of the PHC string format.
///
/// # Errors
/// See [`Refused`].
pub fn read(text: &str) -> Result<ForeignHash, Refused> {
    let (hash, rest) = prefix(text)?;
    let [costs, salt, digest] = parts(rest)?;
    if !costs.starts_with("i=") {
        let parameters = Parameters::new(hash, number(costs)?)?;
        return new(parameters, ab64(salt)?, ab64(digest)?);
    }
    let mut costs = costs.split(',');
    let iterations = number(named(costs.next(), "i")?)?;
    let parameters = Parameters::new(hash, iterations)?;
    let digest = base64(digest)?;
    let length = costs.next().map(|part| number(named(Some(part), "l")?));
    let length = length.transpose()?;
    let is_length = length.is_none_or(|length| u32::try_from(digest.len()) == Ok(length));
    if costs.next().is_some() || !is_length {
        return Err(Refused::Malformed);
    }
    new(parameters, base64(salt)?, digest)
}

/// Reads Django's text, after `pbkdf2_sha256$`. Its salt is used as text.
///
/// # Errors
/// See [`Refused`].
pub fn read_django(rest: &str) -> Result<ForeignHash, Refused> {
    let [iterations, salt, digest] = parts(rest)?;
    let parameters = Parameters::new(Hash::Sha256, number(iterations)?)?;
    new(parameters, salt.as_bytes().to_vec(), base64(digest)?)
}

/// A hash of these parameters.
///
/// # Errors
/// When salt or digest are too short or too long.
pub fn new(
    parameters: Parameters,
    salt: Vec<u8>,
    mut digest: Vec<u8>,
) -> Result<ForeignHash, Refused> {
    if digest.len() > MAX_DIGEST {
        return Err(Refused::OutOfBounds);
    }
    digest.truncate(parameters.hash.length());
    ForeignHash::new(Profile::Pbkdf2(parameters), salt, digest)
}

/// passlib's text.
pub fn text(of: Parameters, hash: &ForeignHash) -> String {
    let (salt, digest) = (to_ab64(&hash.salt), to_ab64(&hash.digest));
    format!("{}{}${salt}${digest}", of.hash.prefix(), of.iterations)
}

/// The digest of a password, as long as that of the hash.
pub fn digest(of: Parameters, hash: &ForeignHash, password: &[u8]) -> Vec<u8> {
    let mut digest = vec![0; hash.digest.len()];
    let (salt, iterations) = (&hash.salt, of.iterations);
    match of.hash {
        Hash::Sha256 => pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut digest),
        Hash::Sha512 => pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut digest),
    }
    digest
}
