//! What the operations on a user have in common.

use utoipa::openapi::{ObjectBuilder, SchemaFormat, Type};

use crate::http::openapi::Documentation;
use crate::slices::user::EXAMPLE_ID;

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
