//! HTTP handler: the body, its validation, the responses, and their documentation.

use std::sync::Arc;

use actix_web::HttpResponse;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::command::{ChangePassword, ChangePasswordError, ChangePasswordHandler};
use super::store::{ChangePasswordStore, Outcome};
use crate::access::Access;
use crate::access::authenticator::Reason;
use crate::access::feed::{Feed, Revocation};
use crate::attempts::Attempts;
use crate::dependencies::Dependencies;
use crate::domain::PresentedPassword;
use crate::http::attempts::hash_problem;
use crate::http::authorization;
use crate::http::changes::Circumstances;
use crate::http::middleware::idempotency::respond;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{FieldError, Problem, ProblemType};
use crate::http::validation::{broken, check, required};
use crate::idempotency::Begun;
use crate::platform::client::Client;
use crate::slices::accounts::http::new_password;
use crate::slices::accounts::problems::CHANGED_MEANWHILE;

/// The largest body, in bytes.
const MAX_BODY: usize = 4 * 1024;

/// The field with the new password.
const NEW_PASSWORD: &str = "/new_password";

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::post("/users/me/password", Access::User)
            .keyed()
            .body(MAX_BODY)
            .rate_limited(|settings| settings.login_rate)
            .documented(documentation)
            .handled_by(|dependencies| {
                let state = Arc::new(State::new(dependencies));
                move |call| change_password(Arc::clone(&state), call)
            }),
    ]
}

/// The dependencies of the handler.
struct State {
    handler: ChangePasswordHandler,
    circumstances: Circumstances,
    feed: Arc<Feed>,
}

impl State {
    fn new(dependencies: &Dependencies) -> Self {
        Self {
            handler: ChangePasswordHandler {
                store: ChangePasswordStore::new(dependencies.database.clone()),
                attempts: Attempts::new(dependencies),
                hasher: Arc::clone(&dependencies.hasher),
                sends_mail: dependencies.delivery.is_some(),
                write_reserve: dependencies.settings.http.request_timeout / 5,
            },
            circumstances: Circumstances::new(dependencies),
            feed: Arc::clone(&dependencies.feed),
        }
    }
}

// It has no `Debug`, as it carries passwords.
/// The body of a change of password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePasswordRequest {
    /// The password until now, unchanged: not trimmed, not cut.
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
    current_password: Option<SecretString>,
    /// The password from now on, by the rules of a signup.
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
    new_password: Option<SecretString>,
}

impl ChangePasswordRequest {
    fn parse(self) -> Result<(PresentedPassword, SecretString), Vec<FieldError>> {
        let mut errors = Vec::new();
        let current = required(self.current_password, PresentedPassword::parse);
        let current = check(&mut errors, "/current_password", current);
        let new = new_password(self.new_password);
        let new = check(&mut errors, "/new_password", new);
        current.zip(new).ok_or(errors)
    }
}

async fn change_password(state: Arc<State>, mut call: Call) -> Result<HttpResponse, Problem> {
    let (current, new) = call.validated(ChangePasswordRequest::parse).await?;
    let values = [
        Some(current.expose_bytes()),
        Some(new.expose_secret().as_bytes()),
    ];
    let execution = match call.begin(&values).await? {
        Begun::Replay(recorded) => return Ok(respond(&recorded, render)),
        Begun::Execute(execution) => execution,
    };
    let (change, _) = state.circumstances.of(&call)?;
    let command = ChangePassword {
        caller: call.user()?.clone(),
        current,
        new,
        client: call.context.client.as_ref().map(Client::network),
        change,
        deadline: call.context.deadline,
    };
    let recorded = state.handler.handle(command, execution).await?;
    if let Outcome::Done(user, epoch) = recorded.outcome {
        state.feed.add(Revocation::User(user, epoch));
        if !recorded.is_replay {
            tracing::info!(user_id = %user, "password changed");
        }
    }
    Ok(respond(&recorded, render))
}

/// The response to the outcome of a change.
fn render(outcome: &Outcome) -> Result<HttpResponse, Problem> {
    match outcome {
        Outcome::Done(..) => Ok(HttpResponse::NoContent().finish()),
        Outcome::ChangedMeanwhile => Err(CHANGED_MEANWHILE.into()),
        Outcome::CallerEnded => Err(authorization::invalid(Reason::Revoked)),
    }
}

impl From<ChangePasswordError> for Problem {
    fn from(error: ChangePasswordError) -> Self {
        match error {
            ChangePasswordError::Ended => authorization::invalid(Reason::Revoked),
            ChangePasswordError::InvalidCredentials => ProblemType::INVALID_CREDENTIALS.into(),
            ChangePasswordError::Password(rule) => {
                Self::validation(vec![broken(NEW_PASSWORD, rule)])
            }
            ChangePasswordError::Attempt(error) => error.into(),
            ChangePasswordError::Hash(error) => hash_problem(&error),
            ChangePasswordError::Store(error) => error.into(),
            ChangePasswordError::Write(error) => error.into(),
        }
    }
}

fn documentation() -> Documentation {
    Documentation::new("change_password", "accounts", "Changes the password.")
        .description(
            "The other sessions of the user end, and links in mails are void. The session of the request lives on: refresh \
             it, as its access token is refused from now on. With an `Idempotency-Key` it can be retried, also with a \
             refreshed access token.",
        )
        .body::<ChangePasswordRequest>(
            "At most 4 KiB.",
            [(
                "change",
                "A change",
                json!({
                    "current_password": "correct horse battery staple",
                    "new_password": "another horse battery staple",
                }),
            )],
        )
        .fields(&["/current_password", NEW_PASSWORD])
        .no_content("The password is changed.")
        .problems(&[
            ProblemType::INVALID_CREDENTIALS,
            CHANGED_MEANWHILE,
            ProblemType::VALIDATION_FAILED,
            ProblemType::LOGIN_THROTTLED,
            ProblemType::RATE_LIMITED,
            ProblemType::OVERLOADED,
            ProblemType::UNAVAILABLE,
        ])
}
