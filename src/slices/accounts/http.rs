//! What the operations on a user have in common.

use utoipa::openapi::{ObjectBuilder, SchemaFormat, Type};

use crate::http::openapi::Documentation;
use crate::slices::user::EXAMPLE_ID;

/// The token of a mail in examples.
pub const EXAMPLE_TOKEN: &str = "AaH80DnZft-ZUxv-8EbSxxmDUvqoQO3mRBaZ1fK2tPZ0cHqk4cS8iJbF9wYd7nLs";

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
