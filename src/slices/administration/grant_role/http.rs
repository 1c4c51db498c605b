//! HTTP handlers: the role in the path, the responses, and their documentation.

use std::sync::Arc;

use actix_web::HttpResponse;
use utoipa::openapi::ResponseBuilder;

use crate::access::Access;
use crate::access::roles::{Grant, GrantOutcome, Roles};
use crate::dependencies::Dependencies;
use crate::domain::Permission;
use crate::http::changes::Circumstances;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Method, Operation};
use crate::http::problem::{Problem, ProblemType};
use crate::slices::administration::http::{lacking, of_role, of_user, role, user};
use crate::slices::administration::problems::{ROLE_FIXED, ROLE_NOT_FOUND};

const PATH: &str = "/admin/users/{id}/roles/{role}";

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    let access = Access::Needs(Permission::RolesGrant);
    vec![
        Operation::of(Method::Put, PATH, access)
            .documented(document_grant)
            .handled_by(|dependencies| {
                let state = Arc::new(State::new(dependencies));
                move |call| change(Arc::clone(&state), call, true)
            }),
        Operation::of(Method::Delete, PATH, access)
            .documented(document_revocation)
            .handled_by(|dependencies| {
                let state = Arc::new(State::new(dependencies));
                move |call| change(Arc::clone(&state), call, false)
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

async fn change(state: Arc<State>, call: Call, is_given: bool) -> Result<HttpResponse, Problem> {
    let (user, role) = (user(&call)?, role(&call)?);
    let (change, limit) = state.circumstances.of(&call)?;
    let grant = Grant {
        user,
        role: role.clone(),
        limit,
        change,
    };
    let outcome = if is_given {
        state.roles.grant(grant).await?
    } else {
        state.roles.revoke(grant).await?
    };
    match outcome {
        GrantOutcome::Changed(_) => {
            let what = if is_given {
                "role granted"
            } else {
                "role revoked"
            };
            tracing::info!(user_id = %user, %role, "{what}");
        }
        GrantOutcome::Unchanged => {}
        GrantOutcome::NoSuchUser => return Err(ProblemType::USER_NOT_FOUND.into()),
        GrantOutcome::NoSuchRole => return Err(ROLE_NOT_FOUND.into()),
        GrantOutcome::Fixed => {
            return Err(Problem::new(ROLE_FIXED, "Every user has the role user."));
        }
        GrantOutcome::Lacking(permissions) => return Err(lacking(permissions)),
        GrantOutcome::LastAdmin => return Err(ProblemType::LAST_ADMIN.into()),
    }
    Ok(HttpResponse::NoContent().finish())
}

fn document_grant() -> Documentation {
    let granted = ResponseBuilder::new().description("The user has the role.");
    let documentation = Documentation::new("grant_role", "users", "Grants a role to a user.");
    of_role(of_user(documentation))
        .description(
            "The caller must have every permission of the role. The user's access tokens are invalid within two \
             seconds, so that the next refresh has one with the role.",
        )
        .response(204, granted)
        .problems(&[
            ProblemType::USER_NOT_FOUND,
            ROLE_NOT_FOUND,
            ROLE_FIXED,
            ProblemType::UNAVAILABLE,
        ])
}

fn document_revocation() -> Documentation {
    let revoked = ResponseBuilder::new().description("The user does not have the role.");
    let documentation =
        Documentation::new("revoke_role", "users", "Takes a role away from a user.");
    of_role(of_user(documentation))
        .description(
            "The caller must have every permission of the role. The user's access tokens are invalid within two \
             seconds.",
        )
        .response(204, revoked)
        .problems(&[
            ProblemType::USER_NOT_FOUND,
            ROLE_NOT_FOUND,
            ROLE_FIXED,
            ProblemType::LAST_ADMIN,
            ProblemType::UNAVAILABLE,
        ])
}
