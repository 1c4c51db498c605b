//! HTTP handler: the body, its validation, the responses, and their documentation.

use std::sync::Arc;

use actix_web::HttpResponse;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::command::{Reauthenticate, ReauthenticateError, ReauthenticateHandler};
use super::metrics::{Outcome, Reauthentications};
use super::store::ReauthenticateStore;
use crate::access::Access;
use crate::access::authenticator::Reason;
use crate::attempts::{AttemptError, Attempts};
use crate::dependencies::Dependencies;
use crate::domain::PresentedPassword;
use crate::hashing::HashError;
use crate::http::authorization;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{FieldError, Problem, ProblemType};
use crate::http::validation::{check, required};
use crate::platform::client::Client;
use crate::slices::sessions::http::{AccessTokenResponse, Issuer};
use crate::slices::sessions::session::Session;

/// The largest body, in bytes.
const MAX_BODY: usize = 4 * 1024;

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::post("/auth/reauthenticate", Access::User)
            .body(MAX_BODY)
            .rate_limited(|settings| settings.login_rate)
            .documented(documentation)
            .handled_by(|dependencies| {
                let state = Arc::new(State::new(dependencies));
                move |call| reauthenticate(Arc::clone(&state), call)
            }),
    ]
}

/// The dependencies of the handler.
struct State {
    handler: ReauthenticateHandler,
    issuer: Issuer,
    metrics: Reauthentications,
}

impl State {
    fn new(dependencies: &Dependencies) -> Self {
        Self {
            handler: ReauthenticateHandler {
                store: ReauthenticateStore::new(dependencies.database.clone()),
                attempts: Attempts::new(dependencies),
                clock: Arc::clone(&dependencies.clock),
                randomness: Arc::clone(&dependencies.randomness),
            },
            issuer: Issuer::new(dependencies),
            metrics: Reauthentications::new(&dependencies.metrics).expect("a unique name"),
        }
    }
}

// It has no `Debug`, as it carries a password.
/// The body of a reauthentication.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReauthenticateRequest {
    /// The password of the caller, unchanged: not trimmed, not cut.
    #[schema(
        value_type = String,
        required = true,
        write_only,
        format = "password",
        min_length = 1,
        max_length = 1024,
        pattern = r"^[^\u0000]*$",
        example = "correct horse battery staple"
    )]
    password: Option<SecretString>,
}

impl ReauthenticateRequest {
    fn parse(self) -> Result<PresentedPassword, Vec<FieldError>> {
        let mut errors = Vec::new();
        let password = check(
            &mut errors,
            "/password",
            required(self.password, PresentedPassword::parse),
        );
        password.ok_or(errors)
    }
}

async fn reauthenticate(state: Arc<State>, mut call: Call) -> Result<HttpResponse, Problem> {
    let password = call.validated(ReauthenticateRequest::parse).await?;
    let context = Arc::clone(&call.context);
    let command = Reauthenticate {
        caller: call.user()?.clone(),
        password,
        client: context.client.as_ref().map(Client::network),
        network: context.network(),
        correlation_id: context.correlation_id.clone(),
        deadline: context.deadline,
    };
    let outcome = state.handler.handle(command).await;
    if let Some(counted) = counted(&outcome) {
        state.metrics.count(counted);
    }
    let session = outcome?;
    let token = state.issuer.access_token(&session)?;
    Ok(HttpResponse::Ok().json(token))
}

const fn counted(outcome: &Result<Session, ReauthenticateError>) -> Option<Outcome> {
    match outcome {
        Ok(_) => Some(Outcome::Succeeded),
        Err(ReauthenticateError::InvalidCredentials) => Some(Outcome::Invalid),
        Err(ReauthenticateError::Ended) => Some(Outcome::Ended),
        Err(ReauthenticateError::Attempt(AttemptError::Throttled(_))) => Some(Outcome::Throttled),
        Err(ReauthenticateError::Attempt(AttemptError::Hash(
            HashError::Overloaded { .. } | HashError::NetworkBusy { .. },
        ))) => Some(Outcome::Overloaded),
        Err(ReauthenticateError::Attempt(_) | ReauthenticateError::Store(_)) => None,
    }
}

impl From<ReauthenticateError> for Problem {
    fn from(error: ReauthenticateError) -> Self {
        match error {
            ReauthenticateError::InvalidCredentials => ProblemType::INVALID_CREDENTIALS.into(),
            ReauthenticateError::Ended => authorization::invalid(Reason::Revoked),
            ReauthenticateError::Attempt(error) => error.into(),
            ReauthenticateError::Store(error) => error.into(),
        }
    }
}

fn documentation() -> Documentation {
    Documentation::new(
        "reauthenticate",
        "sessions",
        "Sends the password again, for operations that need a fresh one.",
    )
    .description(
        "The response has a new access token of the same session, whose `auth_time` is now. The refresh token stays \
         as it is.",
    )
    .body::<ReauthenticateRequest>(
        "At most 4 KiB.",
        [(
            "password",
            "The password",
            json!({ "password": "correct horse battery staple" }),
        )],
    )
    .fields(&["/password"])
    .json::<AccessTokenResponse>(200, "A new access token.", AccessTokenResponse::example())
    .problems(&[
        ProblemType::INVALID_CREDENTIALS,
        ProblemType::LOGIN_THROTTLED,
        ProblemType::VALIDATION_FAILED,
        ProblemType::RATE_LIMITED,
        ProblemType::OVERLOADED,
        ProblemType::UNAVAILABLE,
    ])
}
