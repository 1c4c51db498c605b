//! The format `bcrypt-sha256`, version 2, as passlib defines it.
//!
//! `$bcrypt-sha256$v=2,t=2b,r=12$<22-character salt>$<31-character digest>` is bcrypt over
//! base64(HMAC-SHA256(key = the 22 characters of the salt, message = the password)). The 44
//! characters of base64 fit bcrypt's 72 bytes and have no NUL, so every byte of the password
//! counts, whatever its length.
//!
//! Source: <https://passlib.readthedocs.io/en/stable/lib/passlib.hash.bcrypt_sha256.html>.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bcrypt::Version;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::domain::{Password, PasswordHash};

/// Hashes a password. Takes as long as the cost says: call it on a hashing thread.
///
/// # Panics
/// When the cost is not 4 to 31; the settings are checked at start.
#[must_use]
pub fn hash(password: &Password, cost: u32, salt: [u8; 16]) -> PasswordHash {
    let salt_text = encode_salt(salt);
    let digest = bcrypt::hash_with_salt(prehash(password.expose_bytes(), &salt_text), cost, salt)
        .expect("the cost was checked at start")
        .format_for_version(Version::TwoB);
    // `$2b$12$` + 22 characters of salt + 31 of digest.
    let digest = &digest[digest.len() - 31..];
    PasswordHash::new(format!(
        "$bcrypt-sha256$v=2,t=2b,r={cost}${salt_text}${digest}"
    ))
}

/// What bcrypt is given instead of the password.
fn prehash(password: &[u8], salt_text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(salt_text.as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(password);
    STANDARD.encode(mac.finalize().into_bytes())
}

fn encode_salt(salt: [u8; 16]) -> String {
    bcrypt::BASE_64.encode(salt)
}
