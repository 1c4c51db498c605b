//! Domain events, as stored in the append-only history.

use serde::Serialize;

/// An account was created. Stored as the payload of a `user.signed_up` event.
///
/// The payload is a contract with the readers of the history: fields may be added, and a change of
/// meaning needs a new [`UserSignedUp::SCHEMA_VERSION`]. It contains no secrets.
#[derive(Serialize)]
pub struct UserSignedUp<'a> {
    /// The new user's id.
    pub id: String,
    /// The name sent at signup.
    pub name: &'a str,
    /// The address as typed.
    pub email: &'a str,
    /// The display name.
    pub display_name: &'a str,
}

impl UserSignedUp<'_> {
    /// The event's type.
    pub const TYPE: &'static str = "user.signed_up";
    /// The version of the payload's schema.
    pub const SCHEMA_VERSION: i16 = 1;
}
