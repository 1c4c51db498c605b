//! Refresh tokens: `srt_` and 76 characters, which name a session and a generation of it.
//!
//! The bytes are: version 1 · session 16 · generation 4, big-endian · mac 32 · checksum 4 (`format.rs`). The mac
//! covers the session, the generation and the nonce of the session's row. A reader of the database has no
//! token, as the secret is not there; a reader of the secret has none, as the nonce is only there; and what
//! is stored says nothing about the token.

use std::fmt;

use secrecy::SecretString;
use uuid::Uuid;

use super::format;
use super::secrets::{Mac, Purpose, TokenSecrets};

const PREFIX: &str = "srt_";

/// Distinguishes this form of the mac from later ones.
const LABEL: &[u8] = b"refresh1";

/// The nonce of a session: 16 random bytes in its row.
pub type Nonce = [u8; 16];

/// What a refresh token names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefreshToken {
    /// The session.
    pub session: Uuid,
    /// How often the session had been refreshed when the token was issued, from 0.
    pub generation: u32,
}

/// A refresh token as a client presented it: well formed, but not yet known to be genuine.
pub struct Presented {
    /// What it claims to be.
    pub token: RefreshToken,
    mac: Mac,
}

// The mac is what makes the token.
impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

/// The text of the token of this generation. The same arguments give the same text: a lost response is repeated
/// without storing the token.
#[must_use]
pub fn issue(
    session: Uuid,
    generation: u32,
    nonce: &Nonce,
    secrets: &TokenSecrets,
) -> SecretString {
    let token = RefreshToken {
        session,
        generation,
    };
    let (id, number) = (session.as_bytes(), generation.to_be_bytes());
    let mac = secrets.mac(Purpose::Refresh, &token.values(&number, nonce));
    format::encode(PREFIX, &[id, &number, &mac])
}

impl RefreshToken {
    /// Reads a token without a query. `None` if it is not in the one form that [`issue`] writes: another
    /// prefix, length, version, checksum, or base64 that is not canonical.
    #[must_use]
    pub fn parse(text: &str) -> Option<Presented> {
        let fields = format::decode::<52>(PREFIX, text)?;
        let (session, rest) = fields.split_first_chunk::<16>()?;
        let (generation, mac) = rest.split_first_chunk::<4>()?;
        Some(Presented {
            token: Self {
                session: Uuid::from_bytes(*session),
                generation: u32::from_be_bytes(*generation),
            },
            mac: mac.try_into().ok()?,
        })
    }

    fn values<'a>(&'a self, generation: &'a [u8; 4], nonce: &'a Nonce) -> [&'a [u8]; 4] {
        [LABEL, self.session.as_bytes(), generation, nonce]
    }
}

impl Presented {
    /// Whether it was issued for the session with this nonce, under the current or the previous secret. It
    /// takes the same time whatever the mac is.
    #[must_use]
    pub fn is_genuine(&self, nonce: &Nonce, secrets: &TokenSecrets) -> bool {
        let generation = self.token.generation.to_be_bytes();
        let values = self.token.values(&generation, nonce);
        secrets.is_mac(Purpose::Refresh, &values, &self.mac)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::super::secrets::testing::secrets;
    use super::*;

    const NONCE: Nonce = [7; 16];

    fn text(session: u128, generation: u32, secret: &str) -> String {
        let token = issue(
            Uuid::from_u128(session),
            generation,
            &NONCE,
            &secrets(secret, None),
        );
        token.expose_secret().to_owned()
    }

    fn is_genuine(text: &str, nonce: &Nonce, current: &str, previous: Option<&str>) -> bool {
        RefreshToken::parse(text)
            .is_some_and(|presented| presented.is_genuine(nonce, &secrets(current, previous)))
    }

    #[test]
    fn a_token_is_read_as_it_was_issued() {
        let text = text(42, 3, "s");
        assert!(text.starts_with("srt_") && text.len() == 80, "{text}");
        let presented = RefreshToken::parse(&text).expect("well formed");
        let expected = RefreshToken {
            session: Uuid::from_u128(42),
            generation: 3,
        };
        assert_eq!(presented.token, expected);
        assert!(is_genuine(&text, &NONCE, "s", None));
        assert!(!format!("{presented:?}").contains("mac"));
    }

    #[test]
    fn issuing_again_gives_the_same_token() {
        assert_eq!(text(1, 2, "s"), text(1, 2, "s"));
        assert_ne!(text(1, 2, "s"), text(1, 3, "s"));
        assert_ne!(text(1, 2, "s"), text(2, 2, "s"));
    }

    #[test]
    fn neither_the_secret_nor_the_row_alone_makes_a_token() {
        let text = text(1, 0, "s");
        assert!(!is_genuine(&text, &[8; 16], "s", None));
        assert!(!is_genuine(&text, &NONCE, "t", None));
    }

    #[test]
    fn a_token_survives_a_rotation_of_the_secret() {
        let text = text(1, 0, "old");
        assert!(is_genuine(&text, &NONCE, "old", Some("new")));
        assert!(is_genuine(&text, &NONCE, "new", Some("old")));
        assert!(!is_genuine(&text, &NONCE, "new", None));
    }

    proptest! {
        #[test]
        fn any_token_is_read_back(session: u128, generation: u32) {
            let presented = RefreshToken::parse(&text(session, generation, "s")).expect("well formed");
            prop_assert_eq!(presented.token.session, Uuid::from_u128(session));
            prop_assert_eq!(presented.token.generation, generation);
        }

        #[test]
        fn any_changed_character_is_refused(session: u128, at in 0_usize..80, to in 0_u8..128) {
            let text = text(session, 1, "s");
            let mut changed = text.clone().into_bytes();
            changed[at] = to;
            let changed = String::from_utf8(changed).expect("ASCII");
            prop_assume!(changed != text);
            prop_assert!(RefreshToken::parse(&changed).is_none());
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "(srt_)?\\PC{0,100}") {
            prop_assert!(RefreshToken::parse(&text).is_none());
        }
    }
}
