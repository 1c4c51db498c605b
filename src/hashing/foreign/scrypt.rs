//! scrypt (RFC 7914): of passlib, `$scrypt$ln=16,r=8,p=1$<salt>$<digest>`; of Django,
//! `scrypt$<n>$<salt>$<r>$<p>$<digest>`; and of Firebase.
//!
//! Firebase's, in the form of Supabase: `$fbscrypt$v=1,n=14,r=8,p=1,ss=<separator>,sk=<key>$<salt>$<digest>`.
//! The project's key is encrypted by AES-256 in counter mode, from zero, under scrypt of the password with
//! the salt and the separator; what comes out is stored. Source:
//! <https://github.com/firebase/scrypt>, with a vector.

use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use secrecy::zeroize::Zeroizing;

use super::text::{base64, named, number, parts, three, to_base64};
use super::{ForeignHash, MAX_DIGEST, NotDone, Refused, Signer};
use crate::hashing::profile::Profile;

/// The most work: n·r·p. It takes 128·n·r bytes of memory, so 128 MiB at most.
const MAX_WORK: u64 = 1 << 20;

/// Bytes of a digest that are stored. passlib knows no other length.
const DIGEST: usize = 32;

/// Bytes of the key that Firebase derives.
const FIREBASE_KEY: usize = 32;

/// Parameters within their bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parameters {
    /// The logarithm of n.
    log_n: u8,
    r: u32,
    p: u32,
}

impl Parameters {
    /// Checks the bounds.
    ///
    /// # Errors
    /// When they are broken.
    pub fn new(log_n: u32, r: u32, p: u32) -> Result<Self, Refused> {
        let log_n = u8::try_from(log_n).map_err(|_| Refused::OutOfBounds)?;
        if !(1..=20).contains(&log_n) || r == 0 || p == 0 {
            return Err(Refused::OutOfBounds);
        }
        let work = u64::from(r)
            .saturating_mul(p.into())
            .saturating_mul(1 << log_n);
        if work > MAX_WORK {
            return Err(Refused::OutOfBounds);
        }
        Ok(Self { log_n, r, p })
    }

    /// What verifying takes, relative to others by scrypt.
    pub fn work(&self) -> u64 {
        u64::from(self.r) * u64::from(self.p) * (1 << self.log_n)
    }
}

/// Reads the parameters of a text that begins with `$scrypt$`. Returns also what follows them.
///
/// # Errors
/// See [`Refused`].
pub fn head(text: &str) -> Result<(Parameters, &str), Refused> {
    let rest = text.strip_prefix("$scrypt$").ok_or(Refused::Unknown)?;
    let (costs, end) = rest.split_once('$').ok_or(Refused::Malformed)?;
    let [log_n, r, p] = three(costs, ["ln", "r", "p"])?;
    Ok((Parameters::new(log_n, r, p)?, end))
}

/// Reads passlib's text.
///
/// # Errors
/// See [`Refused`].
pub fn read(text: &str) -> Result<ForeignHash, Refused> {
    let (parameters, end) = head(text)?;
    let [salt, digest] = parts(end)?;
    new(parameters, base64(salt)?, base64(digest)?)
}

/// Reads Django's text, after `scrypt$`. Its salt is used as text.
///
/// # Errors
/// See [`Refused`].
pub fn read_django(rest: &str) -> Result<ForeignHash, Refused> {
    let [n, salt, r, p, digest] = parts(rest)?;
    let n = number(n)?;
    if !n.is_power_of_two() {
        return Err(Refused::OutOfBounds);
    }
    let parameters = Parameters::new(n.ilog2(), number(r)?, number(p)?)?;
    new(parameters, salt.as_bytes().to_vec(), base64(digest)?)
}

fn new(parameters: Parameters, salt: Vec<u8>, mut digest: Vec<u8>) -> Result<ForeignHash, Refused> {
    if digest.len() > MAX_DIGEST {
        return Err(Refused::OutOfBounds);
    }
    digest.truncate(DIGEST);
    ForeignHash::new(Profile::Scrypt(parameters), salt, digest)
}

/// Reads the parameters of a text that begins with `$fbscrypt$`. Returns also what follows them.
///
/// # Errors
/// See [`Refused`].
pub fn head_firebase(text: &str) -> Result<(Parameters, &str), Refused> {
    let rest = text.strip_prefix("$fbscrypt$").ok_or(Refused::Unknown)?;
    let costs = rest.strip_prefix("v=1,").ok_or(Refused::Malformed)?;
    let third = costs.match_indices(',').nth(2).ok_or(Refused::Malformed)?;
    let (costs, end) = costs.split_at(third.0);
    let [log_n, r, p] = three(costs, ["n", "r", "p"])?;
    Ok((Parameters::new(log_n, r, p)?, end))
}

/// Reads Firebase's text.
///
/// # Errors
/// See [`Refused`].
pub fn read_firebase(text: &str) -> Result<ForeignHash, Refused> {
    let (parameters, end) = head_firebase(text)?;
    let [keys, salt, digest] = parts(end)?;
    let mut keys = keys.split(',').skip(1);
    let separator = base64(named(keys.next(), "ss")?)?;
    let key = base64(named(keys.next(), "sk")?)?;
    let digest = base64(digest)?;
    if keys.next().is_some() || key.len() != digest.len() {
        return Err(Refused::Malformed);
    }
    let salt = [base64(salt)?, separator].concat();
    let mut hash = ForeignHash::new(Profile::Scrypt(parameters), salt, digest)?;
    hash.signer = Some(Signer {
        key: Zeroizing::new(key),
    });
    Ok(hash)
}

/// passlib's text.
pub fn text(of: &Parameters, hash: &ForeignHash) -> String {
    let Parameters { log_n, r, p } = of;
    let (salt, digest) = (to_base64(&hash.salt), to_base64(&hash.digest));
    format!("$scrypt$ln={log_n},r={r},p={p}${salt}${digest}")
}

/// The digest of a password, as long as that of the hash.
///
/// # Errors
/// A defect: the parameters were checked.
pub fn digest(of: &Parameters, hash: &ForeignHash, password: &[u8]) -> Result<Vec<u8>, NotDone> {
    let parameters = scrypt::Params::new(of.log_n, of.r, of.p).map_err(|_| NotDone)?;
    let derive = |output: &mut [u8]| {
        let made = scrypt::scrypt(password, &hash.salt, &parameters, output);
        made.map_err(|_| NotDone)
    };
    let Some(signer) = &hash.signer else {
        let mut digest = vec![0; hash.digest.len()];
        derive(&mut digest)?;
        return Ok(digest);
    };
    let mut key = Zeroizing::new([0; FIREBASE_KEY]);
    derive(&mut *key)?;
    encrypt(&*key, signer).ok_or(NotDone)
}

/// The project's key, encrypted under a derived one.
fn encrypt(key: &[u8], signer: &Signer) -> Option<Vec<u8>> {
    let key = UnboundCipherKey::new(&AES_256, key).ok()?;
    let key = EncryptingKey::ctr(key).ok()?;
    let mut text = signer.key.to_vec();
    let zero = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    key.less_safe_encrypt(&mut text, zero).ok()?;
    Some(text)
}
