//! The format `bcrypt-sha256`, version 2, as defined by passlib.
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
use bcrypt_lanes::{Cost, Lane};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::zeroize::Zeroizing;
use sha2::Sha256;

use crate::domain::{Password, PasswordHash};

/// Hashes a password with the crate `bcrypt`. Its duration depends on the cost: call it on a
/// hashing thread.
///
/// # Panics
/// When the cost is not 4 to 31; the settings are checked at start.
#[must_use]
pub fn hash(password: &Password, cost: u32, salt: [u8; 16]) -> PasswordHash {
    hash_bytes(password.expose_bytes(), cost, salt)
}

fn hash_bytes(password: &[u8], cost: u32, salt: [u8; 16]) -> PasswordHash {
    let prehash = prehash(password, &encode_salt(salt));
    let made = bcrypt::hash_with_salt(&*prehash, cost, salt)
        .expect("the cost was checked at start")
        .format_for_version(Version::TwoB);
    format(cost, &made)
}

/// Begins hashing a password in a lane.
///
/// # Panics
/// When the cost is not 4 to 31; the settings are checked at start.
#[must_use]
pub fn begin(password: &Password, cost: u32, salt: [u8; 16]) -> Lane {
    begin_bytes(password.expose_bytes(), cost, salt)
}

fn begin_bytes(password: &[u8], cost: u32, salt: [u8; 16]) -> Lane {
    let prehash = prehash(password, &encode_salt(salt));
    let cost = Cost::new(cost).expect("the cost was checked at start");
    Lane::new(prehash.as_bytes(), salt, cost).expect("44 characters are not too long")
}

/// Takes the finished hash out of a lane.
///
/// # Errors
/// The lane, if it is not done.
pub fn finish(lane: Lane) -> Result<PasswordHash, Lane> {
    let hash = lane.finish()?;
    Ok(format(hash.cost().get(), &hash.to_string()))
}

/// Converts the output of bcrypt, `$2b$12$` + 22 characters of salt + 31 of digest, to the format.
fn format(cost: u32, made: &str) -> PasswordHash {
    let (salt, digest) = made[made.len() - 53..].split_at(22);
    PasswordHash::new(format!("$bcrypt-sha256$v=2,t=2b,r={cost}${salt}${digest}"))
}

/// The input of bcrypt in place of the password.
fn prehash(password: &[u8], salt_text: &str) -> Zeroizing<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(salt_text.as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(password);
    let mac: Zeroizing<[u8; 32]> = Zeroizing::new(mac.finalize().into_bytes().into());
    Zeroizing::new(STANDARD.encode(&mac))
}

fn encode_salt(salt: [u8; 16]) -> String {
    bcrypt::BASE_64.encode(salt)
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    /// Made by passlib 1.7.4; `tests/vectors/bcrypt_sha256.py` prints them. Columns: a unit and the
    /// number of its repeats, a tail, which together are the password; the cost, and the hash. The
    /// salt of the n-th is the sixteen bytes from 16 * n on.
    const VECTORS: &[(&str, usize, &str, u32, &str)] = &[
        (
            "",
            0,
            "",
            4,
            "$bcrypt-sha256$v=2,t=2b,r=4$..CA.uOD/eaGAOmJB.yMBu$55ZCMhwiimfGqH6n4gZmYQXzMu0FoJa",
        ),
        (
            "password",
            1,
            "",
            4,
            "$bcrypt-sha256$v=2,t=2b,r=4$C/CQCvOTDfaWEPmZF/ycFu$2o1HbdLWkm2t6WR9R0B1Xeh2Prg8aJG",
        ),
        (
            "correct horse battery staple",
            1,
            "",
            12,
            "$bcrypt-sha256$v=2,t=2b,r=12$GACgGwOjHgamIQmpJAysJu$CQRLqGqi3CrF4JAgkbRhhMS2.47RjJu",
        ),
        (
            "0123456789",
            7,
            "a",
            4,
            "$bcrypt-sha256$v=2,t=2b,r=4$KBCwKxOzLha2MRm5NBy8Nu$5r8NqxxP1zMOBwtDUsoLavooS/0OiCe",
        ),
        (
            "0123456789",
            7,
            "ab",
            4,
            "$bcrypt-sha256$v=2,t=2b,r=4$OCDAOyPDPibGQSnJRCzMRu$ZgZRmJVGqcXenuPYjj2moW5M6fr6Tpi",
        ),
        (
            "0123456789",
            7,
            "abc",
            4,
            "$bcrypt-sha256$v=2,t=2b,r=4$SDDQSzPTTjbWUTnZVDzcVu$soUr0QwKw3Ktm5e4qrSoEvm3V7We5/K",
        ),
        (
            "0123456789",
            7,
            "abd",
            4,
            "$bcrypt-sha256$v=2,t=2b,r=4$WEDgW0PjXkbmYUnpZEzsZu$a.gdLKLodB4NEiqMJvzhJbtLzSidJSG",
        ),
        (
            "0123456789",
            102,
            "abcd",
            4,
            "$bcrypt-sha256$v=2,t=2b,r=4$aFDwa1Pzblb2cVn5dFz8du$wVg6Y6MGQANrQFwwHjpw.OAJsfumPLW",
        ),
        (
            "🦀",
            64,
            "",
            4,
            "$bcrypt-sha256$v=2,t=2b,r=4$eGEAe2QDfmcGgWoJhG0Mhu$XuCAoe4B8ScSNoGjmpZggrzQolgxQQi",
        ),
        (
            "Příliš žluťoučký kůň, 例え",
            1,
            "",
            4,
            "$bcrypt-sha256$v=2,t=2b,r=4$iHEQi3QTjncWkXoZlH0clu$0WeDv0UQWqhUW32e5WjjmAdMdsDBWTu",
        ),
    ];

    fn salt(number: usize) -> [u8; 16] {
        std::array::from_fn(|at| u8::try_from(16 * number + at).expect("a byte"))
    }

    fn password((unit, times, tail, ..): &(&str, usize, &str, u32, &str)) -> String {
        unit.repeat(*times) + tail
    }

    /// The hash by the crate, which a lane must match.
    fn made(password: &[u8], cost: u32, salt: [u8; 16]) -> String {
        let hash = hash_bytes(password, cost, salt);
        let mut lane = begin_bytes(password, cost, salt);
        bcrypt_lanes::advance([&mut lane], u32::MAX);
        let by_lane = finish(lane).expect("it is done");
        assert_eq!(by_lane.as_str(), hash.as_str());
        hash.as_str().to_owned()
    }

    #[test]
    fn every_password_has_the_hash_of_passlib() {
        for (number, vector) in VECTORS.iter().enumerate() {
            let (.., cost, expected) = *vector;
            let made = made(password(vector).as_bytes(), cost, salt(number));
            assert_eq!(made, expected, "vector {number}");
        }
    }

    #[test]
    fn a_password_of_the_domain_is_hashed_unchanged() {
        for (number, vector) in VECTORS.iter().enumerate() {
            let text = password(vector);
            if let Ok(password) = Password::parse(SecretString::from(text.as_str()), &[]) {
                let hash = hash(&password, 4, salt(number));
                assert_eq!(hash.as_str(), made(text.as_bytes(), 4, salt(number)));
            }
        }
    }

    #[test]
    fn every_byte_counts_even_after_the_seventy_second() {
        let shared = "0123456789".repeat(7) + "ab";
        let made = |tail: &str| made((shared.clone() + tail).as_bytes(), 4, [1; 16]);
        let all = [
            made(""),
            made("c"),
            made("d"),
            made("cd"),
            made("c\0"),
            made("\0"),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{one}");
        }
    }

    #[test]
    fn a_different_salt_makes_a_different_hash() {
        let made = |salt| made(b"correct horse battery staple", 4, salt);
        let (one, other) = (made([1; 16]), made([2; 16]));
        // Not only the salt differs, but also the digest.
        assert_ne!(one[one.len() - 31..], other[other.len() - 31..]);
    }
}
