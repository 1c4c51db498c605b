//! HTTP handler: the body, its validation, the responses, and their documentation.

use std::sync::Arc;

use actix_web::HttpResponse;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::command::{LogIn, LogInError, LogInHandler, LoggedIn};
use super::metrics::{Logins, Outcome};
use super::store::LoginStore;
use crate::access::Access;
use crate::access::feed::Feed;
use crate::attempts::{AttemptError, Attempts};
use crate::dependencies::Dependencies;
use crate::domain::{Email, Generation, Name, PresentedPassword};
use crate::hashing::HashError;
use crate::http::middleware::idempotency::{IDEMPOTENCY_KEY_REUSED, mark_replayed};
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{FieldError, Problem, ProblemType};
use crate::http::validation::{check, required};
use crate::platform::client::Client;
use crate::slices::sessions::end;
use crate::slices::sessions::http::{Issuer, TokenResponse, exposed, undocumented};
use crate::slices::sessions::problems::{ACCOUNT_SUSPENDED, EMAIL_NOT_VERIFIED};
use crate::slices::user::{EmailAddress, PersonName, UserResponse};
use crate::tokens::Tokens;
use crate::tokens::device;

/// The largest body, in bytes.
const MAX_BODY: usize = 16 * 1024;

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::post(
            "/auth/login",
            Access::Public("the address and the password are the credential"),
        )
        .own_key()
        .body(MAX_BODY)
        .rate_limited(|settings| settings.login_rate)
        .documented(documentation)
        .handled_by(|dependencies| {
            let state = Arc::new(State::new(dependencies));
            move |call| log_in(Arc::clone(&state), call)
        }),
    ]
}

/// The same on the administration listener, whose page is of another origin.
pub fn on_administration() -> Vec<Operation> {
    undocumented(operations())
}

/// The dependencies of the handler.
struct State {
    handler: LogInHandler,
    issuer: Issuer,
    tokens: Arc<Tokens>,
    feed: Arc<Feed>,
    metrics: Logins,
}

impl State {
    fn new(dependencies: &Dependencies) -> Self {
        let settings = &dependencies.settings;
        Self {
            handler: LogInHandler {
                store: LoginStore::new(dependencies.database.clone()),
                attempts: Attempts::new(dependencies),
                breached: dependencies.breached.clone(),
                secrets: Arc::clone(&dependencies.tokens.secrets),
                settings: settings.auth.clone(),
                clock: Arc::clone(&dependencies.clock),
                randomness: Arc::clone(&dependencies.randomness),
            },
            issuer: Issuer::new(dependencies),
            tokens: Arc::clone(&dependencies.tokens),
            feed: Arc::clone(&dependencies.feed),
            metrics: Logins::new(&dependencies.metrics).expect("a unique name"),
        }
    }
}

// It has no `Debug`, as it carries a password. Every field is optional here, so that all missing
// ones are reported at once.
/// The body of a login: at most 16 KiB of JSON, without unknown or repeated fields.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogInRequest {
    /// The user's address. Case does not matter.
    #[schema(value_type = EmailAddress, required = true)]
    email: Option<String>,
    /// The password, unchanged: not trimmed, not cut.
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
    /// The `device_token` of an earlier login on this device, if there was one. Any other text counts
    /// as none.
    #[schema(value_type = Option<String>)]
    device_token: Option<SecretString>,
    /// What the user calls the device or the client, for the list of sessions.
    #[schema(value_type = Option<PersonName>)]
    label: Option<String>,
}

/// The response to a login.
#[derive(Serialize, ToSchema)]
pub struct LogInResponse<'a> {
    #[serde(flatten)]
    tokens: TokenResponse,
    /// The session.
    #[schema(format = "uuid", example = "01a1fcd0-39d9-7edf-9953-1bfef046d2c8")]
    session_id: String,
    /// The user.
    user: UserResponse<'a>,
    /// Shows at the next login that the user has logged in on this device. It is no credential.
    #[serde(serialize_with = "exposed")]
    #[schema(value_type = String, example = json!(EXAMPLE_DEVICE))]
    device_token: SecretString,
    /// Present, and true, if the password is known from a data breach: ask the user for another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = true)]
    password_breached: Option<bool>,
}

/// The device token in examples.
const EXAMPLE_DEVICE: &str =
    "sdt_ARB8x1rTJc9QmQ3mV2gk7pV0m5b1lqkF0nq2c3rYb9dWq0n3lA8c2y5pQ0fG1hJ2kL3mN4pQ5rS6tU7v";

/// The validated fields of a login.
struct Fields {
    email: Email,
    password: PresentedPassword,
    device_token: Option<String>,
    label: Option<Name>,
}

impl LogInRequest {
    fn parse(self) -> Result<Fields, Vec<FieldError>> {
        let mut errors = Vec::new();
        let email = check(
            &mut errors,
            "/email",
            required(self.email.as_deref(), Email::parse),
        );
        // A password that cannot be is refused before the look-up: whether the account exists must
        // not show.
        let password = check(
            &mut errors,
            "/password",
            required(self.password, PresentedPassword::parse),
        );
        let label = match self.label.as_deref() {
            None => Some(None),
            Some(text) => check(&mut errors, "/label", Name::parse(text)).map(Some),
        };
        match (email, password, label) {
            (Some(email), Some(password), Some(label)) => Ok(Fields {
                email,
                password,
                device_token: self
                    .device_token
                    .map(|token| token.expose_secret().to_owned()),
                label,
            }),
            _ => Err(errors),
        }
    }
}

async fn log_in(state: Arc<State>, mut call: Call) -> Result<HttpResponse, Problem> {
    let fields = call.validated(LogInRequest::parse).await?;
    let context = Arc::clone(&call.context);
    let command = LogIn {
        email: fields.email,
        password: fields.password,
        device_token: fields.device_token,
        label: fields.label,
        key: call.take_key(),
        client: context.client.as_ref().map(Client::network),
        network: context.network(),
        correlation_id: context.correlation_id.clone(),
        deadline: context.deadline,
    };
    let address = command.email.canonical().to_owned();
    let logged_in = match state.handler.handle(command).await {
        Ok(logged_in) => logged_in,
        Err(error) => {
            if let Some(outcome) = outcome_of(&error) {
                state.metrics.count(outcome);
            }
            return Err(error.into());
        }
    };
    end::known_at_once(&state.feed, &logged_in.ended);
    state.metrics.count(if logged_in.is_replay {
        Outcome::Replayed
    } else {
        Outcome::Succeeded
    });
    respond(&state, &logged_in, &address)
}

fn respond(state: &State, logged_in: &LoggedIn, address: &str) -> Result<HttpResponse, Problem> {
    let LoggedIn {
        session, account, ..
    } = logged_in;
    let response = LogInResponse {
        tokens: state.issuer.issue(session, Generation::FIRST)?,
        session_id: session.id.to_string(),
        user: UserResponse::from(&account.user),
        device_token: device::issue(logged_in.device, address, &state.tokens.secrets),
        password_breached: logged_in.is_breached.then_some(true),
    };
    let mut response = HttpResponse::Ok().json(response);
    if logged_in.is_replay {
        mark_replayed(&mut response);
    } else {
        tracing::info!(user_id = %session.user, session_id = %session.id, "session began");
    }
    Ok(response)
}

const fn outcome_of(error: &LogInError) -> Option<Outcome> {
    match error {
        LogInError::InvalidCredentials => Some(Outcome::Invalid),
        LogInError::Suspended => Some(Outcome::Suspended),
        LogInError::Unverified => Some(Outcome::Unverified),
        LogInError::Attempt(AttemptError::Throttled(_)) => Some(Outcome::Throttled),
        LogInError::Attempt(AttemptError::Hash(
            HashError::Overloaded { .. } | HashError::NetworkBusy { .. },
        )) => Some(Outcome::Overloaded),
        LogInError::KeyReused | LogInError::Attempt(_) | LogInError::Store(_) => None,
    }
}

impl From<LogInError> for Problem {
    fn from(error: LogInError) -> Self {
        match error {
            LogInError::InvalidCredentials => ProblemType::INVALID_CREDENTIALS.into(),
            LogInError::Suspended => ACCOUNT_SUSPENDED.into(),
            LogInError::Unverified => EMAIL_NOT_VERIFIED.into(),
            LogInError::KeyReused => IDEMPOTENCY_KEY_REUSED.into(),
            LogInError::Attempt(error) => error.into(),
            LogInError::Store(error) => error.into(),
        }
    }
}

fn example() -> Value {
    let mut example = TokenResponse::example();
    example["session_id"] = json!("01a1fcd0-39d9-7edf-9953-1bfef046d2c8");
    example["user"] = json!(UserResponse::example());
    example["device_token"] = json!(EXAMPLE_DEVICE);
    example
}

fn documentation() -> Documentation {
    Documentation::new("log_in", "sessions", "Begins a session.")
        .description(
            "The response has the tokens of the session. With an `Idempotency-Key` a login can be retried for ten \
             minutes: it begins one session, and each attempt gets the same refresh token. Keep the device token: failed \
             logins of strangers do not hold up a device that has one. A user has at most 50 sessions: a further one \
             ends the oldest. A password that is known from a data breach is reported, and does not keep the user out.",
        )
        .body::<LogInRequest>(
            "At most 16 KiB, without a `Content-Encoding`.",
            [(
                "login",
                "A login",
                json!({
                    "email": "ada@example.org",
                    "password": "correct horse battery staple",
                    "label": "Ada's phone",
                }),
            )],
        )
        .fields(&["/email", "/password", "/label"])
        .json::<LogInResponse<'_>>(200, "The session and its tokens.", example())
        .problems(&[
            ProblemType::INVALID_CREDENTIALS,
            ACCOUNT_SUSPENDED,
            EMAIL_NOT_VERIFIED,
            ProblemType::LOGIN_THROTTLED,
            ProblemType::VALIDATION_FAILED,
            ProblemType::RATE_LIMITED,
            ProblemType::OVERLOADED,
            ProblemType::UNAVAILABLE,
        ])
}
