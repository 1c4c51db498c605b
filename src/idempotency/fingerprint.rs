//! Fingerprints of keys and requests: keyed hashes under the server's secrets.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use super::key::IdempotencyKey;
use crate::platform::clock::Randomness;
use crate::platform::secret_file::{self, SecretFileError};

/// The keyed hash of an idempotency key and its scope.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyFingerprint(pub [u8; 32]);

/// The keyed hash of all values of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestFingerprint(pub [u8; 32]);

/// A key and a request under one secret of the server.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Identifies the record.
    pub key: KeyFingerprint,
    /// Must match for a replay.
    pub request: RequestFingerprint,
}

/// A request's claim on a key: the right to produce its outcome, if it has none yet.
#[derive(Clone)]
pub struct Claim {
    /// Under the current secret: it names the state shared by the instances.
    pub current: Identity,
    /// One for each secret in use, ordered by key: a claim takes all of them, in that order.
    pub identities: Vec<Identity>,
    /// How long the key lives once it has an outcome: counted from the write, as a request may take
    /// longer than a short life.
    pub life: Duration,
}

macro_rules! debug_shows_nothing {
    ($($name:ident),+) => {
        $(impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        })+
    };
}

debug_shows_nothing!(KeyFingerprint, RequestFingerprint, Claim);

/// The current secret, and the previous one.
pub struct Secrets {
    current: SecretString,
    previous: Option<SecretString>,
}

/// No usable secret. The text is one line for the terminal.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The setting is missing where it is needed.
    #[error("IDEMPOTENCY_SECRET must be set on PostgreSQL, the same for every instance")]
    Missing,
    /// The secret file of an embedded database cannot be used.
    #[error(transparent)]
    File(#[from] SecretFileError),
}

impl Secrets {
    /// Uses the secrets of the settings.
    #[must_use]
    pub const fn new(current: SecretString, previous: Option<SecretString>) -> Self {
        Self { current, previous }
    }

    /// Reads the secret from a file, which is created if it is missing.
    ///
    /// # Errors
    /// One line that says what is wrong with the file.
    pub fn from_file(
        path: &Path,
        randomness: &dyn Randomness,
        previous: Option<SecretString>,
    ) -> Result<Self, SecretError> {
        let current = secret_file::open_or_create(path, randomness)?;
        Ok(Self::new(current, previous))
    }

    /// The claim of a request on a key, with this life.
    #[must_use]
    pub fn claim(
        &self,
        scope: &str,
        key: &IdempotencyKey,
        fields: &[Option<&[u8]>],
        life: Duration,
    ) -> Claim {
        let current = identity(&self.current, scope, key, fields);
        let previous = self.previous.as_ref();
        let previous = previous.map(|secret| identity(secret, scope, key, fields));
        let mut identities: Vec<Identity> =
            [Some(current), previous].into_iter().flatten().collect();
        identities.sort_by_key(|identity| identity.key);
        // The same value in both settings is one secret: a second claim of it would lose to the
        // first.
        identities.dedup_by_key(|identity| identity.key);
        Claim {
            current,
            identities,
            life,
        }
    }
}

fn identity(
    secret: &SecretString,
    scope: &str,
    key: &IdempotencyKey,
    fields: &[Option<&[u8]>],
) -> Identity {
    let secret = secret.expose_secret().as_bytes();
    let key = [Some(scope.as_bytes()), Some(key.expose().as_bytes())];
    let request: Vec<_> = std::iter::once(Some(scope.as_bytes()))
        .chain(fields.iter().copied())
        .collect();
    Identity {
        key: KeyFingerprint(keyed_hash(secret, b"key", &key)),
        request: RequestFingerprint(keyed_hash(secret, b"fingerprint", &request)),
    }
}

/// HMAC-SHA-256 over a purpose and values, each prefixed with its length, so that no two lists of
/// values have the same bytes.
pub(super) fn keyed_hash(secret: &[u8], purpose: &[u8], values: &[Option<&[u8]>]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
    for value in std::iter::once(&Some(purpose)).chain(values) {
        match value {
            None => mac.update(&[0]),
            Some(value) => {
                mac.update(&[1]);
                mac.update(&(value.len() as u64).to_be_bytes());
                mac.update(value);
            }
        }
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::clock::SystemRandomness;

    fn key(text: &str) -> IdempotencyKey {
        let lines = std::iter::once(text.as_bytes());
        IdempotencyKey::read(lines).expect("valid").expect("there")
    }

    fn identities(
        secrets: &Secrets,
        scope: &str,
        text: &str,
        fields: &[Option<&[u8]>],
    ) -> Vec<Identity> {
        let claim = secrets.claim(scope, &key(text), fields, Duration::ZERO);
        claim.identities
    }

    fn identity(secret: &str, scope: &str, text: &str, fields: &[Option<&[u8]>]) -> Identity {
        let secrets = Secrets::new(SecretString::from(secret), None);
        identities(&secrets, scope, text, fields)[0]
    }

    #[test]
    fn every_difference_changes_the_fingerprint() {
        let of = |fields: &[Option<&[u8]>]| identity("s", "POST /signup", "k", fields).request;
        let first = of(&[Some(b"ab"), Some(b"c"), None]);
        assert!(first == of(&[Some(b"ab"), Some(b"c"), None]));
        assert!(first != of(&[Some(b"a"), Some(b"bc"), None]));
        assert!(first != of(&[Some(b"ab"), Some(b"c"), Some(b"")]));
        assert!(first != of(&[Some(b"ab"), Some(b"c")]));

        let base = identity("s", "POST /signup", "k", &[]);
        for other in [
            identity("t", "POST /signup", "k", &[]),
            identity("s", "POST /other", "k", &[]),
            identity("s", "POST /signup", "K", &[]),
        ] {
            assert!(base.key != other.key);
        }
        assert!(base.key.0 != base.request.0);
    }

    #[test]
    fn a_rotated_secret_still_identifies_older_records() {
        let before = Secrets::new(SecretString::from("old"), None);
        let after = Secrets::new(SecretString::from("new"), Some(SecretString::from("old")));
        let swapped = Secrets::new(SecretString::from("old"), Some(SecretString::from("new")));
        let old = identities(&before, "s", "k", &[])[0];
        let both = identities(&after, "s", "k", &[]);
        assert!(both.contains(&old) && both.len() == 2);
        assert!(
            both == identities(&swapped, "s", "k", &[]),
            "one order for all"
        );
    }

    #[test]
    fn the_same_value_in_both_settings_is_one_secret() {
        let both = Secrets::new(SecretString::from("s"), Some(SecretString::from("s")));
        let one = Secrets::new(SecretString::from("s"), None);
        let both = identities(&both, "s", "k", &[]);
        assert!(both == identities(&one, "s", "k", &[]));
    }

    #[test]
    fn the_file_is_created_once() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        let open = || Secrets::from_file(&path, &SystemRandomness, None).expect("opens");
        let first = identities(&open(), "s", "k", &[]);
        assert!(identities(&open(), "s", "k", &[]) == first);
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            std::fs::read_dir(folder.path()).expect("a folder").count(),
            1
        );
        std::fs::write(&path, "short").expect("written");
        assert!(Secrets::from_file(&path, &SystemRandomness, None).is_err());
    }
}
