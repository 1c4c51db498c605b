//! HTTP handler: the body, its validation, the responses, and their documentation.

use std::sync::Arc;

use actix_web::HttpResponse;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::command::{ResetPassword, ResetPasswordError, ResetPasswordHandler};
use super::store::{Outcome, ResetPasswordStore};
use crate::access::Access;
use crate::access::feed::{Feed, Revocation};
use crate::dependencies::Dependencies;
use crate::http::attempts::hash_problem;
use crate::http::middleware::idempotency::respond;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{FieldError, Problem, ProblemType};
use crate::http::validation::{broken, check, required};
use crate::idempotency::Begun;
use crate::platform::client::Client;
use crate::slices::accounts::http::{EXAMPLE_TOKEN, new_password};
use crate::slices::accounts::problems::{TOKEN_EXPIRED, TOKEN_INVALID, TOKEN_USED};

/// The largest body, in bytes.
const MAX_BODY: usize = 4 * 1024;

/// The part of the limit of logins that resets have: ten a minute by default.
const SHARE: u32 = 3;

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::post(
            "/auth/password/reset",
            Access::Public("the token of a mail is the credential"),
        )
        .keyed()
        .body(MAX_BODY)
        .rate_limited(|settings| settings.login_rate.map(|rate| rate.part(SHARE)))
        .documented(documentation)
        .handled_by(|dependencies| {
            let state = Arc::new(State::new(dependencies));
            move |call| reset(Arc::clone(&state), call)
        }),
    ]
}

/// The dependencies of the handler.
struct State {
    handler: ResetPasswordHandler,
    feed: Arc<Feed>,
}

impl State {
    fn new(dependencies: &Dependencies) -> Self {
        Self {
            handler: ResetPasswordHandler {
                store: ResetPasswordStore::new(dependencies.database.clone()),
                hasher: Arc::clone(&dependencies.hasher),
                secrets: Arc::clone(&dependencies.tokens.secrets),
                clock: Arc::clone(&dependencies.clock),
                randomness: Arc::clone(&dependencies.randomness),
                write_reserve: dependencies.settings.http.request_timeout / 5,
            },
            feed: Arc::clone(&dependencies.feed),
        }
    }
}

// It has no `Debug`, as it carries a password and a token.
/// The body of a reset.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResetPasswordRequest {
    /// The token of the mail: what follows the `#` of its link.
    #[schema(value_type = String, required = true, example = json!(EXAMPLE_TOKEN))]
    token: Option<SecretString>,
    /// The new password, by the rules of a signup.
    #[schema(
        value_type = String,
        required = true,
        write_only,
        format = "password",
        min_length = 8,
        max_length = 1024,
        pattern = r"^[^\u0000]*$",
        example = "another horse battery staple"
    )]
    password: Option<SecretString>,
}

/// The validated fields of a reset.
struct Fields {
    token: SecretString,
    password: SecretString,
}

impl ResetPasswordRequest {
    fn parse(self) -> Result<Fields, Vec<FieldError>> {
        let mut errors = Vec::new();
        let token = check(&mut errors, "/token", required(self.token, Ok));
        let password = new_password(self.password);
        let password = check(&mut errors, "/password", password);
        match (token, password) {
            (Some(token), Some(password)) => Ok(Fields { token, password }),
            _ => Err(errors),
        }
    }
}

async fn reset(state: Arc<State>, mut call: Call) -> Result<HttpResponse, Problem> {
    let fields = call.validated(ResetPasswordRequest::parse).await?;
    let values = [
        Some(fields.token.expose_secret().as_bytes()),
        Some(fields.password.expose_secret().as_bytes()),
    ];
    let execution = match call.begin(&values).await? {
        Begun::Replay(recorded) => return Ok(respond(&recorded, render)),
        Begun::Execute(execution) => execution,
    };
    let context = Arc::clone(&call.context);
    let command = ResetPassword {
        token: fields.token,
        password: fields.password,
        client: context.client.as_ref().map(Client::network),
        network: context.network(),
        correlation_id: context.correlation_id.clone(),
        deadline: context.deadline,
    };
    let recorded = state.handler.handle(command, execution).await?;
    if let Outcome::Done(user, epoch) = recorded.outcome {
        state.feed.add(Revocation::User(user, epoch));
        if !recorded.is_replay {
            tracing::info!(user_id = %user, "password reset");
        }
    }
    Ok(respond(&recorded, render))
}

/// The response to the outcome of a reset.
fn render(outcome: &Outcome) -> Result<HttpResponse, Problem> {
    match outcome {
        Outcome::Done(..) => Ok(HttpResponse::NoContent().finish()),
        Outcome::TokenUsed => Err(TOKEN_USED.into()),
    }
}

impl From<ResetPasswordError> for Problem {
    fn from(error: ResetPasswordError) -> Self {
        match error {
            ResetPasswordError::TokenInvalid => TOKEN_INVALID.into(),
            ResetPasswordError::TokenExpired => TOKEN_EXPIRED.into(),
            ResetPasswordError::TokenUsed => TOKEN_USED.into(),
            ResetPasswordError::Password(rule) => Self::validation(vec![broken("/password", rule)]),
            ResetPasswordError::Hash(error) => hash_problem(&error),
            ResetPasswordError::Store(error) => error.into(),
            ResetPasswordError::Write(error) => error.into(),
        }
    }
}

fn documentation() -> Documentation {
    Documentation::new("reset_password", "accounts", "Sets another password.")
        .description(
            "It takes the token of a mail, which works once. All sessions of the user end, all other links are void, and \
             the address counts as confirmed. It logs in no one. With an `Idempotency-Key` it can be retried.",
        )
        .body::<ResetPasswordRequest>(
            "At most 4 KiB.",
            [(
                "reset",
                "A reset",
                json!({ "token": EXAMPLE_TOKEN, "password": "another horse battery staple" }),
            )],
        )
        .fields(&["/token", "/password"])
        .no_content("The password is set.")
        .problems(&[
            TOKEN_INVALID,
            TOKEN_EXPIRED,
            TOKEN_USED,
            ProblemType::VALIDATION_FAILED,
            ProblemType::RATE_LIMITED,
            ProblemType::OVERLOADED,
            ProblemType::UNAVAILABLE,
        ])
}
