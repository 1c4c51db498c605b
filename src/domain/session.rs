//! Sessions: their ids, the generations of their refresh tokens, and the epochs of users.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of a session: a `UUIDv7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(Uuid);

impl SessionId {
    /// Wraps an id from the id source, a token or a store.
    #[must_use]
    pub const fn new(id: Uuid) -> Self {
        Self(id)
    }

    /// The id as a UUID.
    #[must_use]
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for SessionId {
    type Err = uuid::Error;

    /// Parses the hyphenated form only, in either case: one session has one address.
    ///
    /// # Errors
    /// When the text is not 36 characters or not a UUID.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        uuid::fmt::Hyphenated::from_str(text).map(|id| Self(id.into_uuid()))
    }
}

/// The number of a session's refresh token: each refresh makes the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(u32);

impl Generation {
    /// The generation of a new session.
    pub const FIRST: Self = Self(0);

    /// Wraps a number from a token or a store.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The generation after this one; `None` after the last, which takes a century of refreshes.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }
}

/// Counts the changes of a user after which access tokens issued before are no longer accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenEpoch(i32);

impl TokenEpoch {
    /// Wraps a number from a token or a store.
    #[must_use]
    pub const fn new(number: i32) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }
}

/// Why a session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// It was not used for too long.
    Idle,
    /// It reached its maximum age.
    Expired,
    /// The user logged out.
    LoggedOut,
    /// The user's password was changed in another session.
    PasswordChanged,
    /// The account was suspended.
    Suspended,
    /// The user or an administrator ended it; or the user logged in too often elsewhere.
    Revoked,
    /// A refresh token was used twice, by two holders.
    Reused,
}

impl EndReason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Idle,
        Self::Expired,
        Self::LoggedOut,
        Self::PasswordChanged,
        Self::Suspended,
        Self::Revoked,
        Self::Reused,
    ];

    /// The text for stores and clients.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Expired => "expired",
            Self::LoggedOut => "logged_out",
            Self::PasswordChanged => "password_changed",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
            Self::Reused => "reused",
        }
    }

    /// The reason with this text, from a store.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_follow_each_other_to_the_last() {
        let second = Generation::FIRST.next().expect("a next one");
        assert_eq!((second, second.get()), (Generation::new(1), 1));
        assert_eq!(Generation::new(u32::MAX).next(), None);
    }

    #[test]
    fn a_reason_is_read_from_its_own_text_only() {
        for reason in EndReason::ALL {
            assert_eq!(EndReason::parse(reason.as_str()), Some(reason));
            let json = serde_json::to_string(&reason).expect("a string");
            assert_eq!(json, format!("\"{}\"", reason.as_str()));
        }
        assert_eq!(EndReason::parse("other"), None);
    }

    #[test]
    fn an_id_is_written_with_hyphens() {
        let id = SessionId::new(Uuid::from_u128(7));
        assert_eq!(id.to_string(), "00000000-0000-0000-0000-000000000007");
        assert_eq!(id.as_uuid(), Uuid::from_u128(7));
        assert_eq!(id.to_string().parse(), Ok(id));
        for other in ["", "7", "00000000000000000000000000000007"] {
            assert!(other.parse::<SessionId>().is_err(), "{other}");
        }
        assert_eq!(TokenEpoch::new(3).get(), 3);
    }
}
