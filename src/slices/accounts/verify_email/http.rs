//! HTTP handler: the body, its validation, the responses, and their documentation.

use std::sync::Arc;

use actix_web::HttpResponse;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::command::{VerifyEmail, VerifyEmailError, VerifyEmailHandler};
use super::store::VerifyEmailStore;
use crate::access::Access;
use crate::attempts::Attempts;
use crate::dependencies::Dependencies;
use crate::domain::PresentedPassword;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{FieldError, Problem, ProblemType};
use crate::http::validation::{check, required};
use crate::platform::client::Client;
use crate::slices::accounts::http::EXAMPLE_TOKEN;
use crate::slices::accounts::problems::{TOKEN_EXPIRED, TOKEN_INVALID};

/// The largest body, in bytes.
const MAX_BODY: usize = 4 * 1024;

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::post(
            "/auth/verify-email",
            Access::Public("the token of a mail and the password are the credential"),
        )
        .body(MAX_BODY)
        .rate_limited(|settings| settings.login_rate)
        .documented(documentation)
        .handled_by(|dependencies| {
            let state = Arc::new(State::new(dependencies));
            move |call| verify(Arc::clone(&state), call)
        }),
    ]
}

/// The dependencies of the handler.
struct State {
    handler: VerifyEmailHandler,
    with_password: bool,
}

impl State {
    fn new(dependencies: &Dependencies) -> Self {
        Self {
            handler: VerifyEmailHandler {
                store: VerifyEmailStore::new(dependencies.database.clone()),
                attempts: Attempts::new(dependencies),
                secrets: Arc::clone(&dependencies.tokens.secrets),
                clock: Arc::clone(&dependencies.clock),
                randomness: Arc::clone(&dependencies.randomness),
            },
            with_password: dependencies.settings.auth.verify_with_password,
        }
    }
}

// It has no `Debug`, as it carries a password and a token.
/// The body of a verification.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyEmailRequest {
    /// The token of the mail: what follows the `#` of its link.
    #[schema(value_type = String, required = true, example = json!(EXAMPLE_TOKEN))]
    token: Option<SecretString>,
    /// The password of the account, unchanged: not trimmed, not cut. It is required, unless the service runs
    /// with `VERIFY_WITH_PASSWORD=false`: then it may be missing, and is not looked at.
    #[schema(
        value_type = String,
        required = false,
        write_only,
        format = "password",
        min_length = 1,
        max_length = 1024,
        pattern = r"^[^\u0000]*$",
        example = "correct horse battery staple"
    )]
    password: Option<SecretString>,
}

/// The validated fields: the token, and the password if it counts.
type Fields = (SecretString, Option<PresentedPassword>);

impl VerifyEmailRequest {
    fn parse(self) -> Result<Fields, Vec<FieldError>> {
        let mut errors = Vec::new();
        let token = check(&mut errors, "/token", required(self.token, Ok));
        let password = check(
            &mut errors,
            "/password",
            required(self.password, PresentedPassword::parse),
        );
        match token.zip(password) {
            Some((token, password)) => Ok((token, Some(password))),
            None => Err(errors),
        }
    }

    fn parse_token(self) -> Result<Fields, Vec<FieldError>> {
        let mut errors = Vec::new();
        let token = check(&mut errors, "/token", required(self.token, Ok));
        token.map(|token| (token, None)).ok_or(errors)
    }
}

async fn verify(state: Arc<State>, mut call: Call) -> Result<HttpResponse, Problem> {
    let parse = if state.with_password {
        VerifyEmailRequest::parse
    } else {
        VerifyEmailRequest::parse_token
    };
    let (token, password) = call.validated(parse).await?;
    let context = Arc::clone(&call.context);
    let command = VerifyEmail {
        token,
        password,
        client: context.client.as_ref().map(Client::network),
        correlation_id: context.correlation_id.clone(),
        deadline: context.deadline,
    };
    state.handler.handle(command).await?;
    Ok(HttpResponse::NoContent().finish())
}

impl From<VerifyEmailError> for Problem {
    fn from(error: VerifyEmailError) -> Self {
        match error {
            VerifyEmailError::TokenInvalid => TOKEN_INVALID.into(),
            VerifyEmailError::TokenExpired => TOKEN_EXPIRED.into(),
            VerifyEmailError::InvalidCredentials => ProblemType::INVALID_CREDENTIALS.into(),
            VerifyEmailError::Attempt(error) => error.into(),
            VerifyEmailError::Store(error) => error.into(),
        }
    }
}

fn documentation() -> Documentation {
    Documentation::new(
        "verify_email",
        "accounts",
        "Confirms the address of an account.",
    )
    .description(
        "It takes the token of the mail and the password of the account: the token alone would confirm an account that \
         another person made with this address. It can be repeated: a used token of a confirmed address gets 204 again. \
         A wrong password does not use the token up.",
    )
    .body::<VerifyEmailRequest>(
        "At most 4 KiB.",
        [(
            "verification",
            "A verification",
            json!({ "token": EXAMPLE_TOKEN, "password": "correct horse battery staple" }),
        )],
    )
    .fields(&["/token", "/password"])
    .no_content("The address is confirmed.")
    .problems(&[
        TOKEN_INVALID,
        TOKEN_EXPIRED,
        ProblemType::INVALID_CREDENTIALS,
        ProblemType::LOGIN_THROTTLED,
        ProblemType::VALIDATION_FAILED,
        ProblemType::RATE_LIMITED,
        ProblemType::OVERLOADED,
        ProblemType::UNAVAILABLE,
    ])
}
