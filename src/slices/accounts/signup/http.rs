//! HTTP handler: the body, its validation, the responses, and their documentation.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use actix_web::http::header;
use prometheus::IntCounter;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::{Header, ResponseBuilder};

use super::command::{SignUp, SignUpError, SignUpHandler};
use super::metrics;
use super::store::{Outcome, SignupStore};
use crate::access::Access;
use crate::dependencies::Dependencies;
use crate::domain::{Candidate, Email, Locale, Name};
use crate::hashing::HashError;
use crate::http::middleware::idempotency::respond;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{FieldError, Problem, ProblemType};
use crate::http::validation::{broken, check, optional, required};
use crate::idempotency::Begun;
use crate::platform::client::Client;
use crate::platform::clock;
use crate::platform::metrics::{HashRefused, Metrics};
use crate::slices::accounts::problems::{ACCOUNT_ERASED, EMAIL_ALREADY_REGISTERED};
use crate::slices::user::{EmailAddress, LanguageTag, PersonName, UserResponse};

/// The largest body, in bytes.
const MAX_BODY: usize = 16 * 1024;

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::post("/signup", Access::Public("new users have no account yet"))
            .keyed()
            .body(MAX_BODY)
            .rate_limited(|settings| settings.signup_rate)
            .observed(|dependencies| {
                Arc::new(metrics::requests(&dependencies.metrics).expect("a unique name"))
            })
            .documented(documentation)
            .handled_by(|dependencies| {
                let state = Arc::new(State::new(dependencies));
                move |call| sign_up(Arc::clone(&state), call)
            }),
    ]
}

/// The dependencies of the handler.
struct State {
    handler: SignUpHandler,
    /// What a signup says.
    render: fn(&Outcome) -> Result<HttpResponse, Problem>,
    metrics: Metrics,
    duplicates: IntCounter,
}

impl State {
    fn new(dependencies: &Dependencies) -> Self {
        let is_uniform = dependencies.settings.auth.uniform_signup;
        Self {
            handler: SignUpHandler {
                hasher: Arc::clone(&dependencies.hasher),
                store: SignupStore::new(dependencies.database.clone()),
                clock: Arc::clone(&dependencies.clock),
                randomness: Arc::clone(&dependencies.randomness),
                verifies: dependencies.settings.auth.requires_verification,
                uniform: is_uniform.then(|| Arc::clone(&dependencies.tokens.secrets)),
                write_reserve: dependencies.settings.http.request_timeout / 5,
            },
            render: if is_uniform { render_uniformly } else { render },
            metrics: dependencies.metrics.clone(),
            duplicates: metrics::duplicates(&dependencies.metrics).expect("a unique name"),
        }
    }
}

// It has no `Debug`, as it carries a password. Every field is optional here, so that all missing
// ones are reported at once.
/// The body of a signup: at most 16 KiB of JSON, without unknown or repeated fields.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignUpRequest {
    /// The user's name.
    #[schema(value_type = PersonName, required = true)]
    name: Option<String>,
    /// The user's address. One address has one account; case does not matter.
    #[schema(value_type = EmailAddress, required = true)]
    email: Option<String>,
    /// At least 8 characters and at most 1024 bytes of UTF-8, without NUL. Not a commonly used
    /// password, nor one that is known from a breach or too easy to guess, nor the user's own name or
    /// address or made of their parts, even in disguise. It is used unchanged: not trimmed, not cut.
    #[schema(
        value_type = String,
        required = true,
        write_only,
        format = "password",
        min_length = 8,
        max_length = 1024,
        pattern = r"^[^\u0000]*$",
        example = "correct horse battery staple"
    )]
    password: Option<SecretString>,
    /// The display name; the name if it is omitted or null.
    #[schema(value_type = Option<PersonName>)]
    display_name: Option<String>,
    /// The language of mails to the user; that of the service if it is omitted, null or not there.
    #[schema(value_type = Option<LanguageTag>)]
    locale: Option<String>,
}

async fn sign_up(state: Arc<State>, mut call: Call) -> Result<HttpResponse, Problem> {
    let fields = call.validated(SignUpRequest::parse).await?;
    let context = Arc::clone(&call.context);
    let network = context.client.as_ref().map(Client::network);
    // For a signup that will be refused, only the outcome of its key is still looked up.
    let admitted = state.handler.admits(network, context.deadline);
    let execution = match call.begin(&fields.values()).await? {
        Begun::Replay(recorded) => return Ok(respond(&recorded, state.render)),
        Begun::Execute(execution) => execution,
    };
    if let Err(refusal) = admitted {
        if matches!(refusal, SignUpError::Hash(HashError::Overloaded { .. })) {
            state.metrics.hash_refused(HashRefused::Early);
        }
        return Err(refuse(refusal, context.deadline).await);
    }
    let command = SignUp {
        name: fields.name,
        display_name: fields.display_name,
        locale: fields.locale,
        email: fields.email,
        password: fields.password,
        client: network,
        correlation_id: context.correlation_id.clone(),
        deadline: context.deadline,
    };
    let recorded = match state.handler.handle(command, execution).await {
        Ok(recorded) => recorded,
        Err(refusal) => return Err(refuse(refusal, context.deadline).await),
    };
    if recorded.outcome == Outcome::EmailTaken && !recorded.is_replay {
        state.duplicates.inc();
    }
    Ok(respond(&recorded, state.render))
}

/// The response to the outcome of a signup.
fn render(outcome: &Outcome) -> Result<HttpResponse, Problem> {
    match outcome {
        Outcome::Created(user) => Ok(HttpResponse::Created()
            .insert_header((header::LOCATION, format!("/users/{}", user.id)))
            .json(UserResponse::from(user))),
        Outcome::EmailTaken => Err(Problem::new(
            EMAIL_ALREADY_REGISTERED,
            "The address has an account already.",
        )),
        Outcome::AccountErased => Err(ACCOUNT_ERASED.into()),
    }
}

/// The response that does not say whether the address has an account, nor whether it had one.
#[expect(clippy::unnecessary_wraps, reason = "it takes the place of `render`")]
fn render_uniformly(outcome: &Outcome) -> Result<HttpResponse, Problem> {
    match outcome {
        Outcome::Created(_) | Outcome::EmailTaken | Outcome::AccountErased => {
            Ok(HttpResponse::Accepted().json(json!({ "status": "check_mail" })))
        }
    }
}

/// How long a client that is refused for lack of time waits for its response. A connection that
/// retries immediately then sends 20 requests a second and not hundreds: refusals would take the
/// cores from the hashes of others.
const HOLD: Duration = Duration::from_millis(50);

/// The response to a failed signup, when it is due.
async fn refuse(error: SignUpError, deadline: Instant) -> Problem {
    if matches!(error, SignUpError::Hash(HashError::Overloaded { .. })) {
        let left = deadline.saturating_duration_since(clock::monotonic());
        tokio::time::sleep(HOLD.min(left / 2)).await;
    }
    error.into()
}

/// The validated fields of a signup.
struct Fields {
    name: Name,
    display_name: Name,
    locale: Option<Locale>,
    email: Email,
    password: Candidate,
}

impl Fields {
    /// The values that identify the signup: two with the same values are the same.
    fn values(&self) -> Vec<Option<&[u8]>> {
        let mut values = vec![
            Some(self.name.as_str().as_bytes()),
            Some(self.email.as_typed().as_bytes()),
            Some(self.password.expose_bytes()),
            Some(self.display_name.as_str().as_bytes()),
        ];
        values.extend(Locale::values(self.locale.as_ref()));
        values
    }
}

impl SignUpRequest {
    /// Validates every field, and returns all that are invalid. Whether the password is guessable
    /// takes too long to check here: that is found out when it is hashed.
    fn parse(self) -> Result<Fields, Vec<FieldError>> {
        let mut errors = Vec::new();
        let name = check(
            &mut errors,
            "/name",
            required(self.name.as_deref(), Name::parse),
        );
        let email = check(
            &mut errors,
            "/email",
            required(self.email.as_deref(), Email::parse),
        );
        let about_the_user: Vec<&str> = [&self.name, &self.email, &self.display_name]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        let password = required(self.password, |secret| {
            Candidate::parse(secret, &about_the_user)
        });
        let password = check(&mut errors, PASSWORD, password);
        let display_name = match self.display_name.as_deref() {
            None => name.clone(),
            Some(text) => check(&mut errors, "/display_name", Name::parse(text)),
        };
        let locale = optional(self.locale.as_deref(), Locale::parse);
        let locale = check(&mut errors, "/locale", locale);
        match (name, display_name, locale, email, password) {
            (Some(name), Some(display_name), Some(locale), Some(email), Some(password)) => {
                Ok(Fields {
                    name,
                    display_name,
                    locale,
                    email,
                    password,
                })
            }
            _ => Err(errors),
        }
    }
}

const PASSWORD: &str = "/password";

impl From<SignUpError> for Problem {
    fn from(error: SignUpError) -> Self {
        match error {
            SignUpError::Hash(HashError::Guessable(rule)) => {
                Self::validation(vec![broken(PASSWORD, rule)])
            }
            // Only logins have places by network; to a signup, both are a full queue.
            SignUpError::Hash(
                HashError::Overloaded { retry_after } | HashError::NetworkBusy { retry_after },
            ) => Self::new(
                ProblemType::OVERLOADED,
                "Too many signups are waiting. Nothing was done.",
            )
            .retry_after(retry_after),
            SignUpError::Hash(HashError::Failed) => {
                tracing::error!("password hashing failed");
                Self::internal()
            }
            SignUpError::Hash(HashError::Stopped) => Self::unavailable(),
            SignUpError::Write(error) => error.into(),
        }
    }
}

/// The response to a signup that does not say what it came to.
#[derive(ToSchema)]
#[schema(as = SignupAccepted)]
#[expect(dead_code, reason = "it describes the response")]
pub struct Accepted {
    /// `check_mail`.
    #[schema(example = "check_mail")]
    status: String,
}

fn documentation() -> Documentation {
    let user = LinkBuilder::new()
        .operation_id("get_user")
        .parameter("id", "$response.body#/id")
        .description("The user that was created.")
        .build();
    let by_address = LinkBuilder::new()
        .operation_id("list_users")
        .parameter("email", "$response.body#/email")
        .description("The same user, by the address.")
        .build();
    let mut documentation = Documentation::new("sign_up", "signup", "Creates an account.");
    let content = ContentBuilder::new()
        .schema(Some(documentation.reference::<UserResponse<'_>>()))
        .example(Some(json!(UserResponse::example())))
        .build();
    let created = ResponseBuilder::new()
        .description("The account was created: now, or by an earlier attempt with the same key.")
        .content("application/json", content)
        .header("Location", Header::default())
        .link("user", user)
        .link("by_address", by_address);
    let accepted = ResponseBuilder::new()
        .description(
            "With `SIGNUP_ANSWER=uniform`, for every address: a mail says what it came to.",
        )
        .content(
            "application/json",
            ContentBuilder::new()
                .schema(Some(documentation.reference::<Accepted>()))
                .example(Some(json!({ "status": "check_mail" })))
                .build(),
        );
    documentation
        .description(
            "A 201 means that the account is on disk. With an `Idempotency-Key` a signup can safely be retried:\n\
             it creates one account, and each attempt gets the same response. Without one, after a 503 `unavailable` or a\n\
             broken connection, the account may or may not have been created.",
        )
        .body::<SignUpRequest>(
            "At most 16 KiB, without a `Content-Encoding`.",
            [
                (
                    "required",
                    "Required fields only",
                    json!({
                        "name": "Ada Lovelace",
                        "email": "ada@example.org",
                        "password": "correct horse battery staple",
                    }),
                ),
                (
                    "all",
                    "All fields",
                    json!({
                        "name": "Ada Lovelace",
                        "email": "Ada@example.org",
                        "password": "correct horse battery staple",
                        "display_name": "Ada",
                        "locale": "en-GB",
                    }),
                ),
            ],
        )
        .fields(&["/name", "/email", PASSWORD, "/display_name", "/locale"])
        .response(201, created)
        .response(202, accepted)
        .problems(&[
            EMAIL_ALREADY_REGISTERED,
            ACCOUNT_ERASED,
            ProblemType::VALIDATION_FAILED,
            ProblemType::OVERLOADED,
            ProblemType::UNAVAILABLE,
        ])
}
