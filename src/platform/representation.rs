//! A user, as every answer shows one.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::UserView;

/// A user. Never has a password or a hash.
#[derive(Serialize, ToSchema)]
pub struct User<'a> {
    /// A UUIDv7.
    #[schema(format = "uuid", example = "0190a6e2-7d3c-7a4b-8c5d-6e7f80910213")]
    id: String,
    /// The name given at signup.
    #[schema(example = "Ada Lovelace")]
    name: &'a str,
    /// The address as it was typed.
    #[schema(format = "email", example = "Ada@example.org")]
    email: &'a str,
    /// What to call the user; the name unless signup said otherwise.
    #[schema(example = "Ada")]
    display_name: &'a str,
    /// RFC 3339, UTC, microseconds.
    #[schema(format = "date-time", example = "2026-11-21T09:30:00.123456Z")]
    created_at: String,
}

impl<'a> From<&'a UserView> for User<'a> {
    fn from(user: &'a UserView) -> Self {
        Self {
            id: user.id.to_string(),
            name: &user.name,
            email: &user.email,
            display_name: &user.display_name,
            created_at: user
                .created_at
                .to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        }
    }
}
