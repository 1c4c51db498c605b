//! User ids.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The id of a user: a `UUIDv7`, so that ids sort by creation time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(Uuid);

impl UserId {
    /// Wraps an id from the id source or from a store.
    #[must_use]
    pub const fn new(id: Uuid) -> Self {
        Self(id)
    }

    /// The id as a UUID, for a store.
    #[must_use]
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl FromStr for UserId {
    type Err = uuid::Error;

    /// Parses the hyphenated form only, in either case: one user has one address.
    ///
    /// # Errors
    /// When the text is not 36 characters or not a UUID.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        uuid::fmt::Hyphenated::from_str(text).map(|id| Self(id.into_uuid()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_in_its_hyphenated_form_only() {
        let id = "0190a6e2-7d3c-7a4b-8c5d-6e7f80910213";
        assert_eq!(id.parse::<UserId>().expect("hyphenated").to_string(), id);
        for other in [
            "0190a6e27d3c7a4b8c5d6e7f80910213",
            "{0190a6e2-7d3c-7a4b-8c5d-6e7f80910213}",
            "urn:uuid:0190a6e2-7d3c-7a4b-8c5d-6e7f80910213",
            "",
            "1",
        ] {
            assert!(other.parse::<UserId>().is_err(), "{other}");
        }
    }
}
