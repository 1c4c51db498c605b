//! What happened to a user, as the append-only history keeps it.

use serde::Serialize;

/// An account was made. Stored as the payload of a `user.signed_up` event.
///
/// The payload is a contract with whoever reads the history: fields may be added, and a change
/// of meaning needs a new [`UserSignedUp::SCHEMA_VERSION`]. It has no secret, and never will.
#[derive(Serialize)]
pub struct UserSignedUp<'a> {
    /// The new user's id.
    pub id: String,
    /// The name given at signup.
    pub name: &'a str,
    /// The address as typed.
    pub email: &'a str,
    /// What to call the user.
    pub display_name: &'a str,
}

impl UserSignedUp<'_> {
    /// The event's type.
    pub const TYPE: &'static str = "user.signed_up";
    /// The version of the payload's meaning.
    pub const SCHEMA_VERSION: i16 = 1;
}
