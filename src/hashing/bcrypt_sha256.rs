//! The format `bcrypt-sha256`, version 2, as defined by passlib.
//!
//! `$bcrypt-sha256$v=2,t=2b,r=12$<22-character salt>$<31-character digest>` is bcrypt over
//! base64(HMAC-SHA256(key = the 22 characters of the salt, message = the password)). The 44
//! characters of base64 fit bcrypt's 72 bytes and have no NUL, so every byte of the password
//! counts, whatever its length.
//!
//! Source: <https://passlib.readthedocs.io/en/stable/lib/passlib.hash.bcrypt_sha256.html>.

use bcrypt_lanes::{Cost, Lane};

use super::bcrypt_hash::{END_CHARS, PREFIX, Prehash, SALT_CHARS, bcrypt_text};
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
    let input = Prehash::HmacSha256.of(password, salt);
    format(cost, &bcrypt_text(&input, cost, salt))
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
    let cost = Cost::new(cost).expect("the cost was checked at start");
    let input = Prehash::HmacSha256.of(password, salt);
    Lane::new(&input, salt, cost).expect("44 characters are not too long")
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
    let (salt, digest) = made[made.len() - END_CHARS..].split_at(SALT_CHARS);
    PasswordHash::new(format!("{PREFIX}{cost}${salt}${digest}"))
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::domain::PresentedPassword;
    use crate::hashing::bcrypt_hash::{BcryptHash, DIGEST_BYTES};

    fn parse(text: &str) -> Option<BcryptHash> {
        BcryptHash::read(text).ok()
    }

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

    fn presented(text: &str) -> Option<PresentedPassword> {
        PresentedPassword::parse(SecretString::from(text)).ok()
    }

    /// The verdict of the crate, which a lane must share.
    fn is_verified(password: &PresentedPassword, stored: &BcryptHash) -> bool {
        let verdict = stored.verify(password);
        let mut lane = stored.begin(password);
        assert_eq!(lane.cost().get(), stored.cost());
        bcrypt_lanes::advance([&mut lane], u32::MAX);
        assert_eq!(stored.finish(lane).ok(), Some(verdict));
        verdict
    }

    #[test]
    fn hashes_of_passlib_are_verified() {
        let mut verified = 0;
        for (number, vector) in VECTORS.iter().enumerate() {
            let (.., cost, text) = *vector;
            let stored = parse(text).expect(text);
            assert_eq!(
                (stored.cost(), stored.salt, stored.is_dummy),
                (cost, salt(number), false)
            );
            // No one can present the empty one.
            let Some(password) = presented(&self::password(vector)) else {
                continue;
            };
            assert!(is_verified(&password, &stored), "vector {number}");
            let other = presented("another password").expect("accepted");
            assert!(!is_verified(&other, &stored), "vector {number}");
            verified += 1;
        }
        assert_eq!(verified, VECTORS.len() - 1);
    }

    #[test]
    fn a_change_of_any_byte_is_noticed() {
        let (number, text) = (1, VECTORS[1].4);
        let right = presented("password").expect("accepted");
        // Of the hash: what still parses is another hash.
        let mut others = Vec::new();
        for at in 0..text.len() {
            for byte in 0..=0x7f_u8 {
                let mut changed = text.as_bytes().to_vec();
                if std::mem::replace(&mut changed[at], byte) == byte {
                    continue;
                }
                let changed = String::from_utf8(changed).expect("ASCII");
                others.extend(parse(&changed));
            }
        }
        // Other costs of one digit; 63 for each whole character, and 3 and 15 for the last ones.
        assert_eq!(others.len(), 5 + 51 * 63 + 3 + 15);
        let lanes = others.iter().map(|stored| stored.begin(&right));
        let mut lanes: Vec<Lane> = lanes.collect();
        bcrypt_lanes::advance(&mut lanes, u32::MAX);
        for (lane, stored) in lanes.into_iter().zip(&others) {
            assert_eq!(stored.finish(lane).ok(), Some(false));
        }
        assert!(
            others
                .iter()
                .step_by(100)
                .all(|stored| !is_verified(&right, stored))
        );
        // Of the password.
        let stored = parse(text).expect("valid");
        assert_eq!(stored.salt, salt(number));
        for at in 0..8 {
            let mut changed = *b"password";
            changed[at] ^= 1;
            let changed = std::str::from_utf8(&changed).expect("ASCII");
            let changed = presented(changed).expect("accepted");
            assert!(!is_verified(&changed, &stored));
        }
        for other in ["passw", "password ", "Password"] {
            assert!(!is_verified(&presented(other).expect("accepted"), &stored));
        }
    }

    #[test]
    fn only_the_digest_decides_and_all_of_it() {
        let text = VECTORS[1].4;
        let right = parse(text).expect("valid");
        for at in 0..DIGEST_BYTES {
            for bit in 0..8 {
                let mut stored = right.clone();
                stored.digest[at] ^= 1 << bit;
                assert!(!stored.matches(&right.digest), "byte {at}, bit {bit}");
            }
        }
        assert!(right.matches(&right.digest));
        assert!(!right.matches(&right.digest[1..]));
    }

    #[test]
    fn other_texts_are_no_hash() {
        let (prefix, salt, digest) = (
            PREFIX,
            "C/CQCvOTDfaWEPmZF/ycFu",
            "2o1HbdLWkm2t6WR9R0B1Xeh2Prg8aJG",
        );
        let with = |cost: &str| format!("{prefix}{cost}${salt}${digest}");
        for cost in 4..=31 {
            let stored = parse(&with(&cost.to_string())).expect("valid");
            assert_eq!(stored.cost(), cost);
        }
        for cost in [
            "",
            "0",
            "3",
            "32",
            "04",
            "+4",
            "-4",
            " 4",
            "4 ",
            "x",
            "4294967300",
        ] {
            assert!(parse(&with(cost)).is_none(), "{cost:?}");
        }
        let whole = with("4");
        for end in 0..whole.len() {
            assert!(parse(&whole[..end]).is_none(), "{end}");
        }
        for text in [
            "!".to_owned(),
            format!("{whole} "),
            format!(" {whole}"),
            format!("{whole}\n"),
            format!("{whole}$"),
            format!("{whole}."),
            format!("{prefix}4${salt}{digest}"),
            format!("{prefix}4${salt}$"),
            format!("{prefix}4$${digest}"),
            format!("{prefix}4${salt}=${digest}"),
            format!("{prefix}4${}+${digest}", &salt[1..]),
            format!("{prefix}4${}ž${digest}", &salt[2..]),
            format!("{prefix}4${}${digest}{}", &salt[1..], &salt[..1]),
            whole.replace("v=2", "v=1"),
            whole.replace("t=2b", "t=2a"),
            whole.replace("bcrypt-sha256", "bcrypt"),
            format!("$2b$4${salt}{digest}"),
            format!("$2b$+4${salt}{digest}"),
            format!("$2b$16${salt}{digest}"),
            format!("$2x$04${salt}{digest}"),
            format!("bcrypt_sha256$$2b$04$${salt}{digest}"),
            format!("bcrypt_sha256$$2b$31${salt}{digest}"),
            format!("$bcrypt-sha256$2y,4${salt}${digest}"),
            format!("$bcrypt-sha256$2b,04${salt}${digest}"),
            format!("$bcrypt-sha256$2b,16${salt}${digest}"),
        ] {
            assert!(parse(&text).is_none(), "{text}");
        }
    }

    /// The last character of a salt has two bits that count, that of a digest four.
    #[test]
    fn bits_that_encode_nothing_must_be_zero() {
        const ALPHABET: &str = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let last_ones = |is_valid: &dyn Fn(char) -> bool| -> String {
            ALPHABET.chars().filter(|last| is_valid(*last)).collect()
        };
        let salts = last_ones(&|last| {
            let text = VECTORS[1].4.replace("F/ycFu$", &format!("F/ycF{last}$"));
            parse(&text).is_some()
        });
        assert_eq!(salts, ".Oeu");
        let digests = last_ones(&|last| {
            let text = VECTORS[1].4;
            parse(&format!("{}{last}", &text[..text.len() - 1])).is_some()
        });
        assert_eq!(digests, ".CGKOSWaeimquy26");
    }

    #[test]
    fn no_password_matches_a_dummy_which_is_the_same_work() {
        let dummy = BcryptHash::dummy(5, [7; 16]);
        let password = presented("correct horse battery staple").expect("accepted");
        let lane = dummy.begin(&password);
        assert_eq!((lane.remaining(), dummy.cost()), (32, 5));
        assert!(dummy.finish(lane).is_err(), "it is not done");
        assert!(!is_verified(&password, &dummy));
        assert!(!dummy.matches(&[0; 23]));
    }
}
