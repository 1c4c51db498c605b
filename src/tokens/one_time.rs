//! One-time tokens, which links in mails carry: 64 characters of base64url, an id and a mac.
//!
//! The mac covers what the row of the id says: whose token it is, for what, for which address, until when, and
//! the user's epoch. The row has no secret, so that none can be made from a copy of the database; and a token
//! that was derived when its mail was made can be checked without being stored.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;
use uuid::Uuid;

use super::secrets::{Mac, Purpose, TokenSecrets};
use crate::domain::{TokenEpoch, UserId};

/// Characters of a token.
const LENGTH: usize = 64;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Shows that a new user has the mailbox.
    Verify,
    /// Sets another password.
    Reset,
    /// The same, for longer; no newer one voids it.
    Recover,
    /// Sets the first password.
    SetPassword,
    /// Moves the account to another address.
    Change,
    /// Moves it back.
    Undo,
}

impl Use {
    const ALL: [Self; 6] = [
        Self::Verify,
        Self::Reset,
        Self::Recover,
        Self::SetPassword,
        Self::Change,
        Self::Undo,
    ];

    /// Its name, in the table and under the mac.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Reset => "reset",
            Self::Recover => "recover",
            Self::SetPassword => "set_password",
            Self::Change => "change",
            Self::Undo => "undo",
        }
    }

    /// The use with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|purpose| purpose.as_str() == text)
    }
}

/// What a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The id of the row.
    pub id: Uuid,
    /// Whose token it is.
    pub user: UserId,
    /// What it is for.
    pub purpose: Use,
    /// The canonical address of the account.
    pub address: String,
    /// The address to move the account to, as typed: of [`Use::Change`] and [`Use::Undo`].
    pub new_email: Option<String>,
    /// The user's epoch: when it rises, the token is void.
    pub epoch: TokenEpoch,
    /// Until when it is valid, in whole microseconds.
    pub expires_at: DateTime<Utc>,
}

impl Grant {
    fn mac(&self, secrets: &TokenSecrets) -> Mac {
        self.with_values(|values| secrets.mac(Purpose::Mail, values))
    }

    fn with_values<T>(&self, then: impl FnOnce(&[&[u8]]) -> T) -> T {
        then(&[
            self.purpose.as_str().as_bytes(),
            self.id.as_bytes(),
            self.user.as_uuid().as_bytes(),
            self.address.as_bytes(),
            self.new_email.as_deref().unwrap_or_default().as_bytes(),
            &self.epoch.get().to_be_bytes(),
            &self.expires_at.timestamp_micros().to_be_bytes(),
        ])
    }

    /// The token.
    #[must_use]
    pub fn token(&self, secrets: &TokenSecrets) -> SecretString {
        let mut bytes = Zeroizing::new(self.id.as_bytes().to_vec());
        bytes.extend_from_slice(&self.mac(secrets));
        SecretString::from(URL_SAFE_NO_PAD.encode(&*bytes))
    }
}

/// A token as a client sent it, not checked yet.
pub struct Presented {
    /// The id of the row that it names.
    pub id: Uuid,
    mac: Mac,
}

impl Presented {
    /// Reads a token. `None` if it is no token of any row.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // Before any work: a client may send a long text.
        if text.len() != LENGTH {
            return None;
        }
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
        let (id, mac) = bytes.split_first_chunk::<16>()?;
        Some(Self {
            id: Uuid::from_bytes(*id),
            mac: mac.try_into().ok()?,
        })
    }

    /// Whether it was made for this row, under the current or the previous secret.
    #[must_use]
    pub fn is_of(&self, grant: &Grant, secrets: &TokenSecrets) -> bool {
        grant.with_values(|values| secrets.is_mac(Purpose::Mail, values, &self.mac))
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::super::secrets::testing::secrets;
    use super::*;

    fn grant() -> Grant {
        Grant {
            id: Uuid::from_u128(7),
            user: UserId::new(Uuid::from_u128(1)),
            purpose: Use::Verify,
            address: "ada@example.org".to_owned(),
            new_email: None,
            epoch: TokenEpoch::new(3),
            expires_at: DateTime::from_timestamp(1_700_000_000, 0).expect("in range"),
        }
    }

    fn text() -> String {
        let token = grant().token(&secrets("s", None));
        token.expose_secret().to_owned()
    }

    #[test]
    fn a_token_is_of_its_row_alone() {
        let secrets = secrets("s", None);
        assert_eq!(text().len(), LENGTH);
        let presented = Presented::parse(&text()).expect("a token");
        assert_eq!(presented.id, grant().id);
        assert!(presented.is_of(&grant(), &secrets));
        let others = [
            Grant {
                id: Uuid::from_u128(8),
                ..grant()
            },
            Grant {
                user: UserId::new(Uuid::from_u128(2)),
                ..grant()
            },
            Grant {
                purpose: Use::Reset,
                ..grant()
            },
            Grant {
                address: "eve@example.org".to_owned(),
                ..grant()
            },
            Grant {
                new_email: Some("eve@example.org".to_owned()),
                ..grant()
            },
            Grant {
                epoch: TokenEpoch::new(4),
                ..grant()
            },
            Grant {
                expires_at: grant().expires_at + TimeDelta::microseconds(1),
                ..grant()
            },
        ];
        for other in others {
            assert!(!presented.is_of(&other, &secrets), "{other:?}");
        }
    }

    #[test]
    fn a_token_survives_a_rotation_of_the_secret() {
        let presented = Presented::parse(&text()).expect("a token");
        assert!(presented.is_of(&grant(), &secrets("t", Some("s"))));
        assert!(!presented.is_of(&grant(), &secrets("t", None)));
    }

    proptest! {
        #[test]
        fn any_changed_character_is_refused(at in 0_usize..LENGTH, to in 0_u8..128) {
            let mut changed = text().into_bytes();
            changed[at] = to;
            let changed = String::from_utf8(changed).expect("ASCII");
            prop_assume!(changed != text());
            let accepted = Presented::parse(&changed)
                .is_some_and(|presented| presented.id == grant().id && presented.is_of(&grant(), &secrets("s", None)));
            prop_assert!(!accepted);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "\\PC{0,100}") {
            drop(Presented::parse(&text));
        }
    }
}
