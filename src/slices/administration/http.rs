//! What the operations of administration have in common.

use serde_json::json;
use utoipa::openapi::{ObjectBuilder, SchemaFormat, Type};

use super::problems::ROLE_NOT_FOUND;
use crate::domain::{BrokenRule, Permission, Permissions, Role, UserId};
use crate::http::authorization::PERMISSION_DENIED;
use crate::http::openapi::Documentation;
use crate::http::operation::Call;
use crate::http::problem::{Problem, ProblemType};
use crate::http::query::{QueryParameters, invalid};

/// The id of the user in examples.
pub const EXAMPLE_USER: &str = "01a1fcd0-39d9-7edf-9953-1bfef046d2c7";

/// The id of the administrator in examples.
pub const EXAMPLE_ADMIN: &str = "01a1fcd0-3ac6-71ca-aa05-2becdf0b43e1";

/// The id of the service key in examples.
pub const EXAMPLE_KEY_ID: &str = "0h2k4n6q8s";

/// The key in examples. Its checksum is wrong, so that it is no finding of a scanner.
pub const EXAMPLE_KEY: &str = "ssk_0h2k4n6q8s_00z0R12GKAHXwQ4KLnSREmn0LsM4X7ML0jtgwuhj1Xr_000000";

/// A time in examples.
pub const EXAMPLE_TIME: &str = "2026-11-21T06:34:27.161988Z";

/// The user in the path.
///
/// # Errors
/// 404 for an invalid id, which belongs to no user.
pub fn user(call: &Call) -> Result<UserId, Problem> {
    let id = call.path("id").parse();
    id.map_err(|_| ProblemType::USER_NOT_FOUND.into())
}

/// The role in the path.
///
/// # Errors
/// 404 for an invalid name, which no role can have.
pub fn role(call: &Call) -> Result<Role, Problem> {
    Role::parse(call.path("role")).ok_or_else(|| ROLE_NOT_FOUND.into())
}

/// 403 for a caller who would give what it does not have.
#[must_use]
pub fn lacking(permissions: Permissions) -> Problem {
    let names: Vec<&str> = permissions.iter().map(Permission::as_str).collect();
    let (list, scope) = (names.join(", "), names.join(" "));
    let detail = format!("The caller cannot give what it lacks: {list}.");
    Problem::new(PERMISSION_DENIED, detail).challenge(format!(
        "Bearer error=\"insufficient_scope\", scope=\"{scope}\""
    ))
}

/// The names of permissions, for a response.
#[must_use]
pub fn names(permissions: Permissions) -> Vec<&'static str> {
    permissions.iter().map(Permission::as_str).collect()
}

/// The permissions with these names.
///
/// # Errors
/// The rule that the list breaks.
#[expect(
    clippy::needless_pass_by_value,
    reason = "it parses the field of a body"
)]
pub fn permissions(names: Vec<String>) -> Result<Permissions, BrokenRule> {
    if names.is_empty() {
        return Err(BrokenRule::new("required", "Must not be empty."));
    }
    let parsed: Option<Permissions> = names.iter().map(|name| Permission::parse(name)).collect();
    parsed.ok_or(BrokenRule::new(
        "unknown_value",
        "Must be permissions of this service, such as users:read.",
    ))
}

/// The parameter `cursor` of a query, if it is there and valid.
///
/// # Errors
/// 400 if it is repeated, or not what a page returned.
pub fn cursor<T>(call: &Call, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Problem> {
    let query = QueryParameters::parse(call.request.query_string())?;
    let Some(text) = query.single("cursor")? else {
        return Ok(None);
    };
    let cursor = parse(text);
    cursor
        .map(Some)
        .ok_or_else(|| invalid("cursor must be the next_cursor of a page."))
}

/// Describes the `id` of a user in a path.
#[must_use]
pub fn of_user(documentation: Documentation) -> Documentation {
    let id = ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(SchemaFormat::Custom("uuid".to_owned())));
    documentation.path_parameter("id", id, "The id of the user.", json!(EXAMPLE_USER))
}

/// Describes the `role` in a path.
#[must_use]
pub fn of_role(documentation: Documentation) -> Documentation {
    let role = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^[a-z][a-z0-9_-]{0,63}$"));
    documentation.path_parameter("role", role, "The name of the role.", json!("auditor"))
}

/// Describes the `id` of a service key in a path.
#[must_use]
pub fn of_key(documentation: Documentation) -> Documentation {
    let id = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some("^[0-9a-hjkmnp-tv-z]{10}$"));
    documentation.path_parameter("id", id, "The id of the key.", json!(EXAMPLE_KEY_ID))
}

/// Describes the parameter `cursor`.
#[must_use]
pub fn paged(documentation: Documentation) -> Documentation {
    documentation.query_parameter(
        "cursor",
        ObjectBuilder::new().schema_type(Type::String),
        "The `next_cursor` of the previous page, unchanged. If omitted, the page is the first.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::service_key::Presented;

    #[test]
    fn the_example_is_no_key() {
        assert!(Presented::parse(EXAMPLE_KEY).is_none());
    }

    #[test]
    fn every_permission_of_a_list_is_known() {
        let of = |names: &[&str]| permissions(names.iter().map(|&name| name.to_owned()).collect());
        let both = Permissions::of(&[Permission::UsersRead, Permission::KeysWrite]);
        assert_eq!(of(&["keys:write", "users:read", "users:read"]), Ok(both));
        assert_eq!(of(&[]).expect_err("empty").code, "required");
        let unknown = of(&["users:read", "users:fly"]).expect_err("unknown");
        assert_eq!(unknown.code, "unknown_value");
    }
}
