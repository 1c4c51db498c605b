//! What the operations on a user have in common.

use secrecy::SecretString;
use utoipa::openapi::{ObjectBuilder, SchemaFormat, Type};

use crate::domain::{BrokenRule, Candidate};
use crate::http::openapi::Documentation;
use crate::http::validation::required;
use crate::slices::user::EXAMPLE_ID;

/// The token of a mail in examples.
pub const EXAMPLE_TOKEN: &str = "AaH80DnZft-ZUxv-8EbSxxmDUvqoQO3mRBaZ1fK2tPZ0cHqk4cS8iJbF9wYd7nLs";

/// A new password that keeps the rules that need nothing of its user; the others are checked when the account is
/// known.
///
/// # Errors
/// The rule that it breaks.
pub fn new_password(password: Option<SecretString>) -> Result<SecretString, BrokenRule> {
    required(password, |password| {
        Candidate::parse(password.clone(), &[]).map(|_| password)
    })
}

/// Describes the `id` in the path of an operation on a user.
#[must_use]
pub fn by_id(documentation: Documentation) -> Documentation {
    let id = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::Custom("uuid".to_owned())));
    documentation.path_parameter(
        "id",
        id,
        "The id returned by signup, with its hyphens, in either case.",
        EXAMPLE_ID.into(),
    )
}
