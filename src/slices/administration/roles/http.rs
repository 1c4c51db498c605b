//! HTTP handlers: the permissions in the body, the pages, and their documentation.

use std::sync::Arc;

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::ResponseBuilder;

use crate::access::Access;
use crate::access::roles::{self, Definition, RoleOutcome, Roles};
use crate::dependencies::Dependencies;
use crate::domain::{Permission, Permissions, Role};
use crate::http::changes::Circumstances;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Method, Operation};
use crate::http::problem::{FieldError, Problem, ProblemType};
use crate::http::validation::{check, required};
use crate::platform::clock::timestamp;
use crate::slices::administration::http::{
    EXAMPLE_TIME, EXAMPLE_USER, cursor, lacking, names, of_role, paged, permissions, role,
};
use crate::slices::administration::problems::{
    LIMIT_REACHED, ROLE_FIXED, ROLE_IN_USE, ROLE_NOT_FOUND,
};

/// The largest body, in bytes.
const MAX_BODY: usize = 4 * 1024;

const LIST: &str = "/admin/roles";
const ONE: &str = "/admin/roles/{role}";

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    let access = Access::Needs(Permission::RolesWrite);
    vec![
        Operation::get(LIST, access)
            .documented(document_list)
            .handled_by(|dependencies| {
                let state = Arc::new(State::new(dependencies));
                move |call| list(Arc::clone(&state), call)
            }),
        Operation::get(ONE, access)
            .documented(document_one)
            .handled_by(|dependencies| {
                let state = Arc::new(State::new(dependencies));
                move |call| one(Arc::clone(&state), call)
            }),
        Operation::of(Method::Put, ONE, access)
            .body(MAX_BODY)
            .documented(document_definition)
            .handled_by(|dependencies| {
                let state = Arc::new(State::new(dependencies));
                move |call| define(Arc::clone(&state), call)
            }),
        Operation::of(Method::Delete, ONE, access)
            .documented(document_removal)
            .handled_by(|dependencies| {
                let state = Arc::new(State::new(dependencies));
                move |call| remove(Arc::clone(&state), call)
            }),
    ]
}

/// The dependencies of the handlers.
struct State {
    roles: Roles,
    circumstances: Circumstances,
}

impl State {
    fn new(dependencies: &Dependencies) -> Self {
        let feed = Arc::clone(&dependencies.feed);
        Self {
            roles: Roles::new(dependencies.database.clone(), Some(feed)),
            circumstances: Circumstances::new(dependencies),
        }
    }
}

/// A role.
#[derive(Serialize, ToSchema)]
pub struct RoleDefinition {
    /// Its name.
    #[schema(example = "auditor")]
    role: String,
    /// What it permits.
    #[schema(value_type = Vec<String>, max_items = 8, example = json!(["users:read"]))]
    permissions: Vec<&'static str>,
    /// Whether it is part of the service, and cannot be changed.
    #[schema(example = false)]
    built_in: bool,
    /// When it was defined; null of a built-in role.
    #[schema(format = "date-time", required = true, example = json!(EXAMPLE_TIME))]
    created_at: Option<String>,
}

/// A page of roles.
#[derive(Serialize, ToSchema)]
pub struct RolePage {
    /// The built-in roles first, on the first page; then the others, by name.
    #[schema(max_items = 102)]
    roles: Vec<RoleDefinition>,
    /// The cursor of the next page; null on the last page.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// A role, with users who have it.
#[derive(Serialize, ToSchema)]
pub struct RoleWithUsers {
    /// Its name.
    #[schema(example = "auditor")]
    role: String,
    /// What it permits.
    #[schema(value_type = Vec<String>, max_items = 8, example = json!(["users:read"]))]
    permissions: Vec<&'static str>,
    /// Whether it is part of the service, and cannot be changed.
    #[schema(example = false)]
    built_in: bool,
    /// When it was defined; null of a built-in role.
    #[schema(format = "date-time", required = true, example = json!(EXAMPLE_TIME))]
    created_at: Option<String>,
    /// The ids of users who have it: the first 100.
    #[schema(max_items = 100, example = json!([EXAMPLE_USER]))]
    users: Vec<String>,
}

/// What a role permits.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DefineRoleRequest {
    /// At least one permission, and only those that the caller has.
    #[schema(value_type = Vec<String>, required = true, min_items = 1, example = json!(["users:read"]))]
    permissions: Option<Vec<String>>,
}

impl DefineRoleRequest {
    fn parse(self) -> Result<Permissions, Vec<FieldError>> {
        let mut errors = Vec::new();
        let parsed = check(
            &mut errors,
            "/permissions",
            required(self.permissions, permissions),
        );
        parsed.ok_or(errors)
    }
}

impl From<Definition> for RoleDefinition {
    fn from(definition: Definition) -> Self {
        Self {
            role: definition.role,
            permissions: names(definition.permissions),
            built_in: definition.created_at.is_none(),
            created_at: definition.created_at.map(timestamp),
        }
    }
}

async fn list(state: Arc<State>, call: Call) -> Result<HttpResponse, Problem> {
    let after = cursor(&call, Role::parse)?;
    let (page, has_more) = state
        .roles
        .page(after.as_ref().map_or("", Role::as_str))
        .await?;
    let next_cursor = page
        .last()
        .filter(|_| has_more)
        .map(|last| last.role.clone());
    let built_in = if after.is_none() {
        roles::built_in()
    } else {
        Vec::new()
    };
    let all = built_in.into_iter().chain(page);
    Ok(HttpResponse::Ok().json(RolePage {
        roles: all.map(RoleDefinition::from).collect(),
        next_cursor,
    }))
}

async fn one(state: Arc<State>, call: Call) -> Result<HttpResponse, Problem> {
    let role = role(&call)?;
    let found = state.roles.find(&role).await?.ok_or(ROLE_NOT_FOUND)?;
    let users = state.roles.holders(&role).await?;
    let RoleDefinition {
        role,
        permissions,
        built_in,
        created_at,
    } = found.into();
    Ok(HttpResponse::Ok().json(RoleWithUsers {
        role,
        permissions,
        built_in,
        created_at,
        users: users.iter().map(ToString::to_string).collect(),
    }))
}

async fn define(state: Arc<State>, mut call: Call) -> Result<HttpResponse, Problem> {
    let permissions = call.validated(DefineRoleRequest::parse).await?;
    let role = role(&call)?;
    let (change, limit) = state.circumstances.of(&call)?;
    let defined = state.roles.define(role.clone(), permissions, limit, change);
    respond(defined.await?, &role, "role defined")
}

async fn remove(state: Arc<State>, call: Call) -> Result<HttpResponse, Problem> {
    let role = role(&call)?;
    let (change, _) = state.circumstances.of(&call)?;
    let removed = state.roles.remove(role.clone(), change).await?;
    respond(removed, &role, "role removed")
}

fn respond(outcome: RoleOutcome, role: &Role, done: &str) -> Result<HttpResponse, Problem> {
    match outcome {
        RoleOutcome::Done => {
            tracing::info!(%role, "{done}");
            Ok(HttpResponse::NoContent().finish())
        }
        RoleOutcome::NoSuchRole => Err(ROLE_NOT_FOUND.into()),
        RoleOutcome::Fixed => Err(ROLE_FIXED.into()),
        RoleOutcome::Lacking(permissions) => Err(lacking(permissions)),
        RoleOutcome::InUse => Err(ROLE_IN_USE.into()),
        RoleOutcome::TooMany => Err(Problem::new(LIMIT_REACHED, "There are too many roles.")),
    }
}

fn example() -> Value {
    json!({
        "role": "auditor",
        "permissions": ["users:read"],
        "built_in": false,
        "created_at": EXAMPLE_TIME,
    })
}

fn document_list() -> Documentation {
    paged(Documentation::new(
        "list_roles",
        "roles",
        "Roles, and what they permit.",
    ))
    .json::<RolePage>(
        200,
        "The roles.",
        json!({ "roles": [example()], "next_cursor": null }),
    )
    .problems(&[ProblemType::INVALID_PARAMETER, ProblemType::UNAVAILABLE])
}

fn document_one() -> Documentation {
    let mut example = example();
    example["users"] = json!([EXAMPLE_USER]);
    of_role(Documentation::new(
        "get_role",
        "roles",
        "A role, with users who have it.",
    ))
    .json::<RoleWithUsers>(200, "The role.", example)
    .problems(&[ROLE_NOT_FOUND, ProblemType::UNAVAILABLE])
}

fn document_definition() -> Documentation {
    let defined = ResponseBuilder::new().description("The role permits this.");
    of_role(Documentation::new(
        "define_role",
        "roles",
        "Defines a role, or replaces its permissions.",
    ))
    .description(
        "The caller must have every permission that the role then has. The users who have the role are permitted it \
         within two seconds, also with the access tokens they have.",
    )
    .body::<DefineRoleRequest>(
        "At most 4 KiB.",
        [(
            "auditor",
            "A role that reads users",
            json!({ "permissions": ["users:read"] }),
        )],
    )
    .fields(&["/permissions"])
    .response(204, defined)
    .problems(&[
        ROLE_NOT_FOUND,
        ROLE_FIXED,
        LIMIT_REACHED,
        ProblemType::VALIDATION_FAILED,
        ProblemType::UNAVAILABLE,
    ])
}

fn document_removal() -> Documentation {
    let removed = ResponseBuilder::new().description("There is no such role any more.");
    of_role(Documentation::new(
        "remove_role",
        "roles",
        "Removes a role that no user has.",
    ))
    .response(204, removed)
    .problems(&[
        ROLE_NOT_FOUND,
        ROLE_FIXED,
        ROLE_IN_USE,
        ProblemType::UNAVAILABLE,
    ])
}
