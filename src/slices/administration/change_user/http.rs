//! HTTP handlers: the status in the body, the responses, and their documentation.

use std::sync::Arc;

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::ResponseBuilder;

use crate::access::Access;
use crate::access::account::{Accounts, Status, StatusOutcome};
use crate::dependencies::Dependencies;
use crate::domain::{BrokenRule, Permission};
use crate::http::changes::Circumstances;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Method, Operation};
use crate::http::problem::{FieldError, Problem, ProblemType};
use crate::http::validation::{check, required};
use crate::slices::administration::http::{EXAMPLE_USER, of_user, user};

/// The largest body, in bytes.
const MAX_BODY: usize = 1024;

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    let write = Access::Needs(Permission::UsersWrite);
    let end = Access::Needs(Permission::SessionsEnd);
    vec![
        Operation::of(Method::Patch, "/admin/users/{id}", write)
            .body(MAX_BODY)
            .documented(document_status)
            .handled_by(|dependencies| {
                let state = Arc::new(State::new(dependencies));
                move |call| set_status(Arc::clone(&state), call)
            }),
        Operation::of(Method::Delete, "/admin/users/{id}/sessions", end)
            .documented(document_sessions)
            .handled_by(|dependencies| {
                let state = Arc::new(State::new(dependencies));
                move |call| end_sessions(Arc::clone(&state), call)
            }),
    ]
}

/// The dependencies of the handlers.
struct State {
    accounts: Accounts,
    circumstances: Circumstances,
}

impl State {
    fn new(dependencies: &Dependencies) -> Self {
        let feed = Arc::clone(&dependencies.feed);
        Self {
            accounts: Accounts::new(dependencies.database.clone(), Some(feed)),
            circumstances: Circumstances::new(dependencies),
        }
    }
}

/// The change of a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeUserRequest {
    /// `suspended` ends the user's sessions and access tokens, and refuses logins; `active` allows them
    /// again.
    #[schema(value_type = String, required = true, pattern = "^(active|suspended)$", example = "suspended")]
    status: Option<String>,
}

impl ChangeUserRequest {
    fn parse(self) -> Result<Status, Vec<FieldError>> {
        let mut errors = Vec::new();
        let parse = |text: String| {
            Status::parse(&text).ok_or(BrokenRule::new(
                "unknown_value",
                "Must be active or suspended.",
            ))
        };
        let status = check(&mut errors, "/status", required(self.status, parse));
        status.ok_or(errors)
    }
}

/// The status of a user.
#[derive(Serialize, ToSchema)]
pub struct UserStatus {
    /// The id of the user.
    #[schema(format = "uuid", example = json!(EXAMPLE_USER))]
    id: String,
    /// The status now.
    #[schema(example = "suspended")]
    status: &'static str,
    /// Counts the changes of the account.
    #[schema(example = 1)]
    version: i32,
}

async fn set_status(state: Arc<State>, mut call: Call) -> Result<HttpResponse, Problem> {
    let status = call.validated(ChangeUserRequest::parse).await?;
    let user = user(&call)?;
    let (change, _) = state.circumstances.of(&call)?;
    let version = match state.accounts.set_status(user, status, change).await? {
        StatusOutcome::Changed(version, _) => {
            tracing::info!(user_id = %user, status = status.as_str(), "user status changed");
            version
        }
        StatusOutcome::Unchanged(version) => version,
        StatusOutcome::NoSuchUser => return Err(ProblemType::USER_NOT_FOUND.into()),
        StatusOutcome::LastAdmin => return Err(ProblemType::LAST_ADMIN.into()),
    };
    Ok(HttpResponse::Ok().json(UserStatus {
        id: user.to_string(),
        status: status.as_str(),
        version,
    }))
}

async fn end_sessions(state: Arc<State>, call: Call) -> Result<HttpResponse, Problem> {
    let user = user(&call)?;
    let (change, _) = state.circumstances.of(&call)?;
    if !state.accounts.end_sessions(user, change).await? {
        return Err(ProblemType::USER_NOT_FOUND.into());
    }
    tracing::info!(user_id = %user, "sessions of a user ended");
    Ok(HttpResponse::NoContent().finish())
}

fn document_status() -> Documentation {
    of_user(Documentation::new(
        "change_user",
        "users",
        "Suspends or activates a user.",
    ))
    .description(
        "A suspension ends the user's sessions; its access tokens are invalid within two seconds. A repeated change has \
         the same response, and no second event in the history.",
    )
    .body::<ChangeUserRequest>(
        "At most 1 KiB.",
        [("suspend", "A suspension", json!({ "status": "suspended" }))],
    )
    .fields(&["/status"])
    .json::<UserStatus>(
        200,
        "The status now.",
        json!({ "id": EXAMPLE_USER, "status": "suspended", "version": 1 }),
    )
    .problems(&[
        ProblemType::USER_NOT_FOUND,
        ProblemType::LAST_ADMIN,
        ProblemType::VALIDATION_FAILED,
        ProblemType::UNAVAILABLE,
    ])
}

fn document_sessions() -> Documentation {
    let ended = ResponseBuilder::new().description("The sessions have ended.");
    of_user(Documentation::new(
        "end_sessions_of_user",
        "users",
        "Ends all sessions of a user.",
    ))
    .description("The user has to log in again. Its access tokens are invalid within two seconds.")
    .response(204, ended)
    .problems(&[ProblemType::USER_NOT_FOUND, ProblemType::UNAVAILABLE])
}
