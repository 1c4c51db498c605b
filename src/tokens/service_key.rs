//! Keys of other services: `ssk_<id>_<secret>_<checksum>`.
//!
//! - The id is 10 characters of Crockford's base32 in lower case: random, short enough to read out, and no secret.
//! - The secret is 32 random bytes as 43 digits of base62, so that a double click selects the whole key.
//! - The checksum is the CRC-32 of IEEE 802.3 (reflected polynomial 0xEDB88320) of everything before its
//!   underscore, as 6 digits of base62: a form that secret scanners know how to check. It is no protection.
//!
//! What is stored is the mac of the id and the secret. The secret has 256 random bits, so a slow hash would add
//! nothing.

use std::fmt;

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

use super::secrets::{Mac, Purpose, TokenSecrets};
use crate::platform::clock::Randomness;

/// What every key begins with.
pub const PREFIX: &str = "ssk_";

/// The digits of base62, in their order.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The digits of Crockford's base32: no I, L, O and U.
const BASE32: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Characters of an id: 50 bits.
const ID: usize = 10;

/// Digits of 32 bytes in base62.
const SECRET: usize = 43;

/// Digits of 4 bytes in base62.
const CHECKSUM: usize = 6;

/// The id of a service key. It is shown in lists and logs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceKeyId(String);

impl ServiceKeyId {
    /// Reads an id in its one form: 10 characters of Crockford's base32 in lower case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_id = text.len() == ID && text.bytes().all(|digit| BASE32.contains(&digit));
        is_id.then(|| Self(text.to_owned()))
    }

    /// A new id. It may be taken, with a probability of 1 in 2^50 for each key that exists: insert it under
    /// a unique constraint.
    #[must_use]
    pub fn random(randomness: &dyn Randomness) -> Self {
        let bytes = randomness.bytes();
        let digits = bytes.iter().take(ID);
        Self(
            digits
                .map(|byte| char::from(BASE32[usize::from(byte % 32)]))
                .collect(),
        )
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A new key: the text to show once, and the hash to store.
pub struct NewServiceKey {
    /// The whole key, for its holder. It is stored nowhere.
    pub text: SecretString,
    /// What is stored.
    pub secret_hash: Mac,
}

impl fmt::Debug for NewServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewServiceKey(..)")
    }
}

/// A new secret for this id: for a new key, or for the rotation of one.
#[must_use]
pub fn issue(
    id: &ServiceKeyId,
    randomness: &dyn Randomness,
    secrets: &TokenSecrets,
) -> NewServiceKey {
    let mut bytes = Zeroizing::new([0; 32]);
    let (first, second) = bytes.split_at_mut(16);
    first.copy_from_slice(&randomness.bytes());
    second.copy_from_slice(&randomness.bytes());
    let secret = Zeroizing::new(base62(&*bytes, SECRET));
    let body = Zeroizing::new([PREFIX, id.as_str(), "_", secret.as_str()].concat());
    let text = SecretString::from([body.as_str(), "_", &checksum(&body)].concat());
    NewServiceKey {
        text,
        secret_hash: secrets.mac(Purpose::ServiceKey, &values(id, &secret)),
    }
}

/// A service key as a client presented it: well formed, but not yet known to exist.
pub struct Presented {
    /// The key that it claims to be.
    pub id: ServiceKeyId,
    secret: SecretString,
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Presented {
    /// Reads a key without a query. `None` if it is not in the form that [`issue`] writes, or mistyped.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // Before any work: a client may send a long text.
        if text.len() != PREFIX.len() + ID + 1 + SECRET + 1 + CHECKSUM {
            return None;
        }
        let (body, found) = text.rsplit_once('_')?;
        let (id, secret) = body.strip_prefix(PREFIX)?.split_once('_')?;
        let id = ServiceKeyId::parse(id)?;
        let is_secret =
            secret.len() == SECRET && secret.bytes().all(|digit| digit.is_ascii_alphanumeric());
        (is_secret && checksum(body) == found).then(|| Self {
            id,
            secret: SecretString::from(secret),
        })
    }

    /// Whether it is the key with this stored hash, made with the current or the previous secret. It takes the
    /// same time whatever the hash is.
    #[must_use]
    pub fn has_hash(&self, secret_hash: &[u8], secrets: &TokenSecrets) -> bool {
        let values = values(&self.id, self.secret.expose_secret());
        secrets.is_mac(Purpose::ServiceKey, &values, secret_hash)
    }
}

fn values<'a>(id: &'a ServiceKeyId, secret: &'a str) -> [&'a [u8]; 2] {
    [id.as_str().as_bytes(), secret.as_bytes()]
}

fn checksum(body: &str) -> String {
    base62(&crc32fast::hash(body.as_bytes()).to_be_bytes(), CHECKSUM)
}

/// A big-endian number in base62, with this many digits: enough of them is the caller's concern.
fn base62(number: &[u8], digits: usize) -> String {
    let mut rest = Zeroizing::new(number.to_vec());
    let mut text = vec![b'0'; digits];
    for digit in text.iter_mut().rev() {
        let mut remainder = 0_u16;
        for byte in rest.iter_mut() {
            let dividend = (remainder << 8) | u16::from(*byte);
            // The remainder is below 62, so the quotient is below 256.
            *byte = u8::try_from(dividend / 62).unwrap_or(u8::MAX);
            remainder = dividend % 62;
        }
        *digit = BASE62[usize::from(remainder)];
    }
    text.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::secrets::testing::secrets;
    use super::*;
    use crate::platform::clock::SystemRandomness;

    /// The same bytes each time.
    struct Fixed;

    impl Randomness for Fixed {
        fn bytes(&self) -> [u8; 16] {
            std::array::from_fn(|at| u8::try_from(at * 17).expect("below 256"))
        }
    }

    fn fixed() -> (ServiceKeyId, String) {
        let id = ServiceKeyId::random(&Fixed);
        let key = issue(&id, &Fixed, &secrets("s", None));
        (id, key.text.expose_secret().to_owned())
    }

    /// Computed with Python's integers and `zlib.crc32`.
    #[test]
    fn a_known_key() {
        assert_eq!(fixed().1, KNOWN);
    }

    const KNOWN: &str = "ssk_0h2k4n6q8s_00z0R12GKAHXwQ4KLnSREmn0LsM4X7ML0jtgwuhj1Xr_4JTpLC";

    #[test]
    fn numbers_in_base62() {
        for (number, text) in [
            (0_u32, "000000"),
            (61, "00000z"),
            (62, "000010"),
            (u32::MAX, "4gfFC3"),
        ] {
            assert_eq!(base62(&number.to_be_bytes(), 6), text);
        }
        assert_eq!(base62(&[0xff; 32], SECRET).len(), SECRET);
        assert!(
            base62(&[0xff; 32], SECRET + 1).starts_with('0'),
            "all digits fit"
        );
    }

    #[test]
    fn a_key_has_its_hash_and_no_other() {
        let before = secrets("old", None);
        let id = ServiceKeyId::random(&SystemRandomness);
        let (one, other) = (
            issue(&id, &SystemRandomness, &before),
            issue(&id, &SystemRandomness, &before),
        );
        let presented = Presented::parse(one.text.expose_secret()).expect("well formed");
        assert_eq!(presented.id, id);
        assert!(presented.has_hash(&one.secret_hash, &before));
        assert!(!presented.has_hash(&other.secret_hash, &before));
        assert!(!presented.has_hash(b"", &before));
        assert!(presented.has_hash(&one.secret_hash, &secrets("new", Some("old"))));
        assert!(!presented.has_hash(&one.secret_hash, &secrets("new", None)));
        let shown = format!("{presented:?} {one:?}");
        let secret = one
            .text
            .expose_secret()
            .split('_')
            .nth(2)
            .expect("a secret");
        assert!(!shown.contains(secret), "{shown}");
    }

    #[test]
    fn an_id_has_one_form() {
        let (id, _) = fixed();
        assert_eq!(ServiceKeyId::parse(id.as_str()), Some(id));
        for other in [
            "",
            "123456789",
            "12345678901",
            "123456789I",
            "123456789i",
            "123456789é",
        ] {
            assert_eq!(ServiceKeyId::parse(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_mistyped_character_is_noticed(at in 0_usize..65, to in 0_u8..128) {
            let (_, text) = fixed();
            let mut changed = text.clone().into_bytes();
            changed[at] = to;
            let changed = String::from_utf8(changed).expect("ASCII");
            prop_assume!(changed != text);
            prop_assert!(Presented::parse(&changed).is_none());
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "(ssk_)?\\PC{0,100}") {
            prop_assert!(Presented::parse(&text).is_none());
        }

        #[test]
        fn base62_is_a_number(number: u32) {
            let digits = base62(&number.to_be_bytes(), 6);
            let value = digits.bytes().fold(0_u64, |value, digit| {
                let digit = BASE62.iter().position(|known| *known == digit).expect("a digit");
                value * 62 + digit as u64
            });
            prop_assert_eq!(value, u64::from(number));
        }
    }
}
