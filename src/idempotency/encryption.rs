//! Encryption of outcomes in Redis, so that they cannot be read or forged there.
//!
//! The format is a nonce of 12 bytes, and JSON under AES-256-GCM. The encryption key is derived
//! from the key hash and the fingerprint of the request, so that only the same request opens it. A
//! reader of both has access to the database, where the outcome is in plain text.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::fingerprint::{Identity, keyed_hash};
use super::record::Stored;

#[derive(Serialize, Deserialize)]
struct Contents {
    /// In microseconds since 1970.
    until: i64,
    version: i16,
    outcome: String,
    request_id: String,
}

fn key(identity: &Identity) -> Option<RandomizedNonceKey> {
    let key = keyed_hash(&identity.request.0, b"seal", &[Some(&identity.key.0)]);
    RandomizedNonceKey::new(&AES_256_GCM, &key).ok()
}

/// Encrypts the outcome of this request, valid until then. `None` if it cannot be encrypted.
pub fn seal(identity: &Identity, stored: Stored, until: DateTime<Utc>) -> Option<Vec<u8>> {
    let contents = Contents {
        until: until.timestamp_micros(),
        version: stored.version,
        outcome: stored.outcome,
        request_id: stored.request_id,
    };
    let mut text = serde_json::to_vec(&contents).ok()?;
    let nonce = key(identity)?.seal_in_place_append_tag(Aad::empty(), &mut text);
    let mut sealed = nonce.ok()?.as_ref().to_vec();
    sealed.append(&mut text);
    Some(sealed)
}

/// Decrypts an outcome that was encrypted for this request and is still valid.
pub fn open(identity: &Identity, sealed: &[u8], now: DateTime<Utc>) -> Option<Stored> {
    let (nonce, text) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut text = text.to_vec();
    let text = key(identity)?.open_in_place(nonce, Aad::empty(), &mut text);
    let contents: Contents = serde_json::from_slice(text.ok()?).ok()?;
    (contents.until > now.timestamp_micros()).then_some(Stored {
        version: contents.version,
        outcome: contents.outcome,
        request_id: contents.request_id,
    })
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::idempotency::fingerprint::{KeyFingerprint, RequestFingerprint};

    const IDENTITY: Identity = Identity {
        key: KeyFingerprint([1; 32]),
        request: RequestFingerprint([2; 32]),
    };

    fn sealed() -> (Stored, Vec<u8>) {
        let stored = Stored {
            version: 1,
            outcome: "{\"created\":{\"email\":\"ada@example.org\"}}".to_owned(),
            request_id: "r".to_owned(),
        };
        let until = DateTime::UNIX_EPOCH + TimeDelta::seconds(60);
        let sealed = seal(&IDENTITY, stored.clone(), until).expect("it is text");
        (stored, sealed)
    }

    #[test]
    fn the_same_request_opens_it_until_it_expires() {
        let (stored, sealed) = sealed();
        let at = |seconds| DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        assert!(open(&IDENTITY, &sealed, at(59)) == Some(stored));
        assert!(open(&IDENTITY, &sealed, at(60)).is_none());
        assert!(!String::from_utf8_lossy(&sealed).contains("ada"));
    }

    #[test]
    fn another_key_or_another_request_cannot_open_it() {
        let (_, sealed) = sealed();
        let (mut other_key, mut other_request) = (IDENTITY, IDENTITY);
        other_key.key.0[31] ^= 1;
        other_request.request.0[0] ^= 1;
        for identity in [other_key, other_request] {
            assert!(open(&identity, &sealed, DateTime::UNIX_EPOCH).is_none());
        }
    }

    #[test]
    fn modified_data_is_not_opened() {
        let (_, sealed) = sealed();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&IDENTITY, &changed, DateTime::UNIX_EPOCH).is_none());
            assert!(open(&IDENTITY, &sealed[..at], DateTime::UNIX_EPOCH).is_none());
        }
    }
}
