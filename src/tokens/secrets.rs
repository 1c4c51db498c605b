//! `AUTH_SECRET`, and the keys derived from it.
//!
//! HKDF-SHA-256 (RFC 5869) makes an independent key for each purpose, with the name of the purpose as `info`:
//! a mac made for one is of no use for another. Macs are made with the current secret, and accepted under the
//! previous one, too, so that a rotation ends no session: first both are configured on every instance, then
//! they are swapped, later the previous one is omitted.
//!
//! To add a purpose, add a variant to [`Purpose`]. Its name must never change.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::hmac;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

use crate::config::{AuthSettings, Backend, DatabaseUrl};
use crate::platform::clock::Randomness;
use crate::platform::secret_file::{self, SecretFileError};

/// A mac: HMAC-SHA-256.
pub type Mac = [u8; 32];

/// What a mac is for. Each purpose has a key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Refresh tokens.
    Refresh,
    /// Device tokens.
    Device,
    /// The subjects of the login throttle: addresses are not stored there.
    Throttle,
    /// Service keys, which are stored as macs.
    ServiceKey,
    /// Idempotency keys of logins and refreshes, which are stored as macs.
    LoginKey,
    /// Links in mails.
    Mail,
    /// Addresses in the counts of mails: they are not stored there.
    MailCount,
}

impl Purpose {
    const ALL: [Self; 7] = [
        Self::Refresh,
        Self::Device,
        Self::Throttle,
        Self::ServiceKey,
        Self::LoginKey,
        Self::Mail,
        Self::MailCount,
    ];

    /// The `info` of its key.
    const fn name(self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::Device => "device",
            Self::Throttle => "throttle",
            Self::ServiceKey => "service-key",
            Self::LoginKey => "login-key",
            Self::Mail => "mail",
            Self::MailCount => "mail-count",
        }
    }
}

/// The `info` of the key that encrypts private keys.
const SEALING: &str = "sealing";

/// The salt of the derivation: it separates these keys from those that another program may derive from the
/// same secret.
const SALT: &[u8] = b"signup-service auth v1";

/// No usable secret. The text is one line for the terminal.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The setting is missing where it is needed.
    #[error("AUTH_SECRET must be set on PostgreSQL, the same for every instance")]
    Missing,
    /// The secret file of an embedded database cannot be used.
    #[error(transparent)]
    File(#[from] SecretFileError),
}

/// The keys of the current secret, and of the previous one.
pub struct TokenSecrets {
    current: Keys,
    previous: Option<Keys>,
}

impl fmt::Debug for TokenSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSecrets(..)")
    }
}

/// The keys of one secret.
struct Keys {
    // A key has a kilobyte.
    macs: Box<[hmac::Key; Purpose::ALL.len()]>,
    sealing: Zeroizing<[u8; 32]>,
}

impl Keys {
    fn derive(secret: &SecretString) -> Self {
        let extracted = Salt::new(HKDF_SHA256, SALT).extract(secret.expose_secret().as_bytes());
        Self {
            macs: Box::new(Purpose::ALL.map(|purpose| {
                hmac::Key::new(hmac::HMAC_SHA256, &*expand(&extracted, purpose.name()))
            })),
            sealing: expand(&extracted, SEALING),
        }
    }

    fn mac(&self, purpose: Purpose, values: &[&[u8]]) -> Mac {
        // Each value is prefixed with its length, so that no two lists of values have the same bytes.
        let mut context = hmac::Context::with_key(&self.macs[purpose as usize]);
        for value in values {
            context.update(&(value.len() as u64).to_be_bytes());
            context.update(value);
        }
        let mut mac = [0; 32];
        mac.copy_from_slice(context.sign().as_ref());
        mac
    }

    fn sealing_key(&self) -> Option<RandomizedNonceKey> {
        RandomizedNonceKey::new(&AES_256_GCM, &*self.sealing).ok()
    }

    fn open(&self, name: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = Zeroizing::new(text.to_vec());
        let key = self.sealing_key()?;
        let opened = key.open_in_place(nonce, Aad::from(name.as_bytes()), &mut text);
        let length = opened.ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

fn expand(extracted: &Prk, info: &str) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    extracted
        .expand(&[info.as_bytes()], HKDF_SHA256)
        .and_then(|key_material| key_material.fill(&mut *key))
        .expect("RFC 5869 allows 255 times this length");
    key
}

/// Contents opened with [`TokenSecrets::open`].
pub struct Opened {
    /// The contents; wiped when dropped.
    pub contents: Zeroizing<Vec<u8>>,
    /// Whether they are sealed under the previous secret, and should be sealed again.
    pub is_outdated: bool,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opened(..)")
    }
}

impl TokenSecrets {
    /// Derives the keys of these secrets.
    #[must_use]
    pub fn new(current: &SecretString, previous: Option<&SecretString>) -> Self {
        Self {
            current: Keys::derive(current),
            previous: previous.map(Keys::derive),
        }
    }

    /// Uses the secrets of the settings; without one, the secret file beside an embedded database, which is
    /// created if it is missing.
    ///
    /// # Errors
    /// One line that says what to set, or what is wrong with the file.
    pub fn open_or_create(
        settings: &AuthSettings,
        database: &DatabaseUrl,
        randomness: &dyn Randomness,
    ) -> Result<Self, SecretError> {
        let previous = settings.secret_previous.as_ref();
        match (&settings.secret, database.backend) {
            (Some(secret), _) => Ok(Self::new(secret, previous)),
            (None, Backend::Postgres) => Err(SecretError::Missing),
            (None, Backend::Sqlite) => {
                let path = secret_file::beside(database, ".auth-secret");
                let secret = secret_file::open_or_create(&path, randomness)?;
                Ok(Self::new(&secret, previous))
            }
        }
    }

    /// The mac of these values under the current secret. Each value counts separately: `["a", "b"]` and
    /// `["ab"]` differ.
    #[must_use]
    pub fn mac(&self, purpose: Purpose, values: &[&[u8]]) -> Mac {
        self.current.mac(purpose, values)
    }

    /// The mac under the current secret, then the one under the previous secret: for a look-up of a stored
    /// mac, which may be from before a rotation.
    #[must_use]
    pub fn macs(&self, purpose: Purpose, values: &[&[u8]]) -> Vec<Mac> {
        let all = [Some(&self.current), self.previous.as_ref()];
        all.into_iter()
            .flatten()
            .map(|keys| keys.mac(purpose, values))
            .collect()
    }

    /// Whether this is the mac of these values under either secret. It takes the same time whatever the mac
    /// is.
    #[must_use]
    pub fn is_mac(&self, purpose: Purpose, values: &[&[u8]], mac: &[u8]) -> bool {
        let is_equal = |expected: &Mac| {
            aws_lc_rs::constant_time::verify_slices_are_equal(expected, mac).is_ok()
        };
        let equal = self
            .macs(purpose, values)
            .iter()
            .filter(|&mac| is_equal(mac))
            .count();
        equal > 0
    }

    /// Encrypts contents for the database under the current secret: a random nonce of 12 bytes, then
    /// AES-256-GCM with `name` as associated data. `None` if the cryptographic library fails.
    #[must_use]
    pub fn seal(&self, name: &str, contents: &[u8]) -> Option<Vec<u8>> {
        let mut text = Zeroizing::new(contents.to_vec());
        let key = self.current.sealing_key()?;
        // In place: the plain text does not stay in memory.
        let nonce = key.seal_in_place_append_tag(Aad::from(name.as_bytes()), &mut *text);
        Some([nonce.ok()?.as_ref(), text.as_slice()].concat())
    }

    /// Decrypts contents that [`TokenSecrets::seal`] encrypted with this name, under either secret. `None`
    /// if they were sealed under another secret or name, or have been changed.
    #[must_use]
    pub fn open(&self, name: &str, sealed: &[u8]) -> Option<Opened> {
        let opened = |keys: &Keys, is_outdated| {
            keys.open(name, sealed).map(|contents| Opened {
                contents,
                is_outdated,
            })
        };
        opened(&self.current, false)
            .or_else(|| self.previous.as_ref().and_then(|keys| opened(keys, true)))
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// The secrets of these texts.
    pub fn secrets(current: &str, previous: Option<&str>) -> TokenSecrets {
        let previous = previous.map(SecretString::from);
        TokenSecrets::new(&SecretString::from(current), previous.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::testing::secrets;
    use super::*;
    use crate::config::{Settings, Sources};
    use crate::platform::clock::SystemRandomness;

    #[test]
    fn each_purpose_and_secret_has_its_own_mac() {
        let (one, other) = (secrets("one", None), secrets("other", None));
        let mut macs: Vec<Mac> = Purpose::ALL
            .iter()
            .flat_map(|purpose| [one.mac(*purpose, &[b"x"]), other.mac(*purpose, &[b"x"])])
            .collect();
        macs.sort_unstable();
        macs.dedup();
        assert_eq!(macs.len(), 2 * Purpose::ALL.len());
        for (at, purpose) in Purpose::ALL.into_iter().enumerate() {
            assert_eq!(purpose as usize, at, "the keys are in this order");
        }
    }

    #[test]
    fn values_are_separate() {
        let of = |values: &[&[u8]]| secrets("s", None).mac(Purpose::Mail, values);
        let all = [
            of(&[b"ab", b"c"]),
            of(&[b"a", b"bc"]),
            of(&[b"abc"]),
            of(&[b"ab", b"c", b""]),
        ];
        for (at, mac) in all.iter().enumerate() {
            assert!(!all[at + 1..].contains(mac));
        }
    }

    /// Computed with the `hmac` module of Python's standard library: changing the derivation would end every
    /// session, and lose the signing keys.
    #[test]
    fn keys_are_derived_as_in_every_release() {
        let mac = secrets("secret", None).mac(Purpose::Refresh, &[b"value"]);
        assert_eq!(hex::encode(mac), KNOWN_MAC);
        let keys = Keys::derive(&SecretString::from("secret"));
        assert_eq!(hex::encode(*keys.sealing), KNOWN_SEALING_KEY);
    }

    const KNOWN_MAC: &str = "f8795101bdff94cea579bb76d95fb8e56fdea0c02b095e1bc37f0832b965c9a7";
    const KNOWN_SEALING_KEY: &str =
        "a520a4c1c980983a82c5bd88e4e8b66deb4630ae72e4c3c94d1a6767989fee1e";

    #[test]
    fn macs_are_accepted_under_both_secrets() {
        let before = secrets("old", None);
        let after = secrets("new", Some("old"));
        let value: &[&[u8]] = &[b"x"];
        let mac = before.mac(Purpose::Device, value);
        assert!(after.is_mac(Purpose::Device, value, &mac));
        assert!(after.is_mac(Purpose::Device, value, &after.mac(Purpose::Device, value)));
        assert!(!before.is_mac(Purpose::Device, value, &after.mac(Purpose::Device, value)));
        assert!(!after.is_mac(Purpose::Refresh, value, &mac));
        assert!(!after.is_mac(Purpose::Device, value, &mac[..31]));
        assert!(!after.is_mac(Purpose::Device, value, b""));
        assert_eq!(after.macs(Purpose::Device, value)[1], mac);
    }

    #[test]
    fn sealed_contents_are_bound_to_their_name() {
        let before = secrets("old", None);
        let sealed = before.seal("a", b"contents").expect("sealed");
        assert!(!sealed.windows(8).any(|window| window == b"contents"));
        assert_ne!(before.seal("a", b"contents").expect("sealed"), sealed);
        let opened = before.open("a", &sealed).expect("the same secret");
        assert_eq!(
            (&opened.contents[..], opened.is_outdated),
            (&b"contents"[..], false)
        );
        let after = secrets("new", Some("old"));
        assert!(
            after
                .open("a", &sealed)
                .expect("the previous secret")
                .is_outdated
        );
        assert!(before.open("b", &sealed).is_none());
        assert!(secrets("new", None).open("a", &sealed).is_none());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(before.open("a", &changed).is_none());
            assert!(before.open("a", &sealed[..at]).is_none());
        }
    }

    fn from_settings(env: &[(&str, &str)]) -> Result<TokenSecrets, SecretError> {
        let sources = Sources::given(env, "").expect("no file");
        let settings = Settings::from_sources(sources, false).expect("valid");
        TokenSecrets::open_or_create(&settings.auth, &settings.database.url, &SystemRandomness)
    }

    #[test]
    fn an_embedded_database_has_its_secret_in_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}/signup.db", folder.path().display());
        let mac = |env: &[(&str, &str)]| {
            let secrets = from_settings(env).expect("opens");
            secrets.mac(Purpose::Refresh, &[b"x"])
        };
        let first = mac(&[("DATABASE_URL", &url)]);
        assert_eq!(mac(&[("DATABASE_URL", &url)]), first);
        assert!(folder.path().join("signup.db.auth-secret").exists());
        let secret = "a secret that is long enough, as it must be";
        assert_ne!(
            mac(&[("DATABASE_URL", &url), ("AUTH_SECRET", secret)]),
            first
        );
    }

    #[test]
    fn a_shared_database_needs_the_setting() {
        let error = from_settings(&[("DATABASE_URL", "postgres://h/d")]).expect_err("no secret");
        assert_eq!(
            error.to_string(),
            "AUTH_SECRET must be set on PostgreSQL, the same for every instance"
        );
    }
}
