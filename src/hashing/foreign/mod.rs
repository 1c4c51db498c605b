//! Password hashes that other services made: Argon2, scrypt and PBKDF2 in the texts of their libraries.
//!
//! Those by bcrypt are in [`bcrypt_hash`](super::bcrypt_hash), as they are verified in lanes. The others
//! cannot be advanced in slices, and are verified on a thread of their own ([`alone`](super::alone)).
//!
//! | text | made by | stored as |
//! |---|---|---|
//! | `$argon2id$v=19$m=…,t=…,p=…$…`, `$argon2i$…` | the PHC string format: passlib, argon2-cffi | it is |
//! | `argon2$argon2id$…` | Django | without `argon2` |
//! | `$scrypt$ln=…,r=…,p=…$…` | the PHC string format: passlib | 32 bytes of digest |
//! | `scrypt$n$salt$r$p$…` | Django | as above |
//! | `$pbkdf2-sha256$29000$…`, `$pbkdf2-sha512$…` | passlib, in its base64 with `.` for `+` | it is |
//! | `$pbkdf2-sha256$i=…,l=…$…`, also `sha512` | the PHC string format: the crate `pbkdf2` | as above |
//! | `pbkdf2_sha256$…` | Django | as above |
//! | a JSON object with `secretData` and `credentialData` | Keycloak | `$pbkdf2-…` or `$argon2…` |
//! | `$fbscrypt$v=1,n=…,r=…,p=…,ss=…,sk=…$…` | Firebase, in the form of Supabase | it is |
//!
//! What is stored is read by passlib where passlib knows the algorithm. Digests of scrypt and PBKDF2 are
//! cut to what passlib stores: the beginning of a longer one is the shorter one.
//!
//! To add a format, add it to [`StoredHash::read`](super::StoredHash::read), with vectors made by its
//! own library in `tests/vectors/foreign.py`.

pub mod argon2;
pub mod keycloak;
pub mod pbkdf2;
pub mod scrypt;
pub mod text;

use aws_lc_rs::constant_time;
use secrecy::zeroize::Zeroizing;

use super::profile::Profile;

/// The longest text that is read, in bytes: Keycloak's JSON has some 500.
pub const MAX_TEXT: usize = 4096;

/// The longest salt, in bytes.
pub const MAX_SALT: usize = 128;

/// The shortest digest, in bytes: with fewer, wrong passwords could match.
pub const MIN_DIGEST: usize = 16;

/// The longest digest, in bytes.
pub const MAX_DIGEST: usize = 64;

/// Why a text is not taken as a password hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No format is known that begins like this.
    #[error("Is in no known format.")]
    Unknown,
    /// The algorithm does not protect passwords: MD5, SHA-1, or SHA-2 without a cost.
    #[error("Is of an algorithm that does not protect passwords.")]
    Weak,
    /// Something is missing, left over, or not encoded as the format has it.
    #[error("Is malformed.")]
    Malformed,
    /// It would take too much time or memory to verify, or too little to be worth anything.
    #[error("Has parameters out of bounds.")]
    OutOfBounds,
}

impl Refused {
    /// The code in reports.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => "unknown_format",
            Self::Weak => "weak_algorithm",
            Self::Malformed => "malformed",
            Self::OutOfBounds => "out_of_bounds",
        }
    }
}

/// What Firebase encrypts with the output of scrypt.
#[derive(Clone)]
pub struct Signer {
    /// The key of the project.
    pub key: Zeroizing<Vec<u8>>,
}

/// A stored hash that is verified on the thread for foreign hashes.
#[derive(Clone)]
pub struct ForeignHash {
    /// The algorithm and its parameters, within their bounds.
    pub profile: Profile,
    /// The salt; of Firebase, with its separator.
    pub salt: Vec<u8>,
    /// The digest: [`MIN_DIGEST`] to [`MAX_DIGEST`] bytes.
    pub digest: Vec<u8>,
    /// Of Firebase only.
    pub signer: Option<Signer>,
    /// Whether no password matches, not even one with this digest.
    pub is_dummy: bool,
}

/// A defect, or no memory: the work was not done.
#[derive(Debug, PartialEq, Eq)]
pub struct NotDone;

impl ForeignHash {
    /// A hash of parameters that were checked.
    ///
    /// # Errors
    /// When salt or digest are too short or too long.
    fn new(profile: Profile, salt: Vec<u8>, digest: Vec<u8>) -> Result<Self, Refused> {
        let is_salt = (1..=MAX_SALT).contains(&salt.len());
        let is_digest = (MIN_DIGEST..=MAX_DIGEST).contains(&digest.len());
        if !is_salt || !is_digest {
            return Err(Refused::OutOfBounds);
        }
        Ok(Self {
            profile,
            salt,
            digest,
            signer: None,
            is_dummy: false,
        })
    }

    /// A hash that takes the same work to verify, and that no password matches.
    pub fn dummy(profile: Profile, salt: [u8; 16]) -> Self {
        Self {
            profile,
            salt: salt.to_vec(),
            digest: vec![0; 32],
            signer: None,
            is_dummy: true,
        }
    }

    /// Whether the password is the one of this hash. Its duration depends on the parameters, up to
    /// seconds: call it on the thread for it.
    ///
    /// # Errors
    /// When the work was not done.
    pub fn verify(&self, password: &[u8]) -> Result<bool, NotDone> {
        let made = match self.profile {
            Profile::Argon2(parameters) => argon2::digest(&parameters, self, password)?,
            Profile::Scrypt(parameters) => scrypt::digest(&parameters, self, password)?,
            Profile::Pbkdf2(parameters) => pbkdf2::digest(parameters, self, password),
            Profile::Bcrypt { .. } => return Err(NotDone),
        };
        let is_equal = constant_time::verify_slices_are_equal(&self.digest, &made).is_ok();
        Ok(is_equal && !self.is_dummy)
    }

    /// The text to store. `None` of Firebase, whose text is stored as it is.
    pub fn to_text(&self) -> Option<String> {
        match self.profile {
            _ if self.signer.is_some() => None,
            Profile::Argon2(parameters) => Some(argon2::text(&parameters, self)),
            Profile::Scrypt(parameters) => Some(scrypt::text(&parameters, self)),
            Profile::Pbkdf2(parameters) => Some(pbkdf2::text(parameters, self)),
            Profile::Bcrypt { .. } => None,
        }
    }
}

/// Whether it looks like a hash of an algorithm that does not protect passwords.
pub fn is_weak(text: &str) -> bool {
    const BEGINNINGS: [&str; 20] = [
        "$1$",
        "$apr1$",
        "$md5",
        "$sha1$",
        "$P$",
        "$H$",
        "{MD5}",
        "{SMD5}",
        "{SHA}",
        "{SSHA}",
        "{SHA256}",
        "{SSHA256}",
        "{SHA512}",
        "{SSHA512}",
        "md5$",
        "sha1$",
        "unsalted_md5$",
        "unsalted_sha1$",
        "pbkdf2_sha1$",
        "$pbkdf2-sha1$",
    ];
    let digits = text.strip_prefix('*').unwrap_or(text);
    let is_plain_digest = matches!(digits.len(), 32 | 40 | 56 | 64 | 96 | 128)
        && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    // passlib's `$pbkdf2$` is PBKDF2 with SHA-1.
    is_plain_digest
        || text.starts_with("$pbkdf2$")
        || BEGINNINGS.iter().any(|begin| text.starts_with(begin))
}
