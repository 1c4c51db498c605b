//! HTTP in and out: the body, its rules, the answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use secrecy::SecretString;
use serde::Deserialize;
use tracing::Span;
use utoipa::openapi::{ObjectBuilder, RefOr, Response, Schema, Type};
use utoipa::{IntoResponses, OpenApi, PartialSchema, ToSchema};

use super::command::{Outcome, Recorder, SignUp, SignUpError, SignUpHandler};
use crate::domain::{Answer, BrokenRule, Candidate, Email, Name, UserView};
use crate::hashing::HashError;
use crate::middleware::idempotency::{Begun, Idempotency, IdempotencyHeader, respond};
use crate::middleware::rate_limit::RateLimit;
use crate::platform::body::{BodyLimits, read_json};
use crate::platform::client::Client;
use crate::platform::context;
use crate::platform::metrics::{HashRefused, Metrics};
use crate::platform::openapi::problems;
use crate::platform::problem::{FieldError, Problem, ProblemType};
use crate::platform::representation::{EmailAddress, PersonName, User};
use crate::platform::telemetry::spans;

/// What the endpoint needs.
pub struct Endpoint {
    pub handler: SignUpHandler,
    pub limits: BodyLimits,
    pub idempotency: Arc<Idempotency>,
    pub rate_limit: Option<RateLimit>,
    pub metrics: Metrics,
}

// It has no `Debug`: it carries a password. Every field is optional here, so that all missing ones
// are told at once.
/// The body of a signup: at most 16 KiB of JSON, with no other field and none twice.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignUpRequest {
    /// The user's name.
    #[schema(value_type = PersonName, required = true)]
    name: Option<String>,
    /// The user's address. One address has one account; upper case makes no other.
    #[schema(value_type = EmailAddress, required = true)]
    email: Option<String>,
    /// At least 8 characters and at most 1024 bytes of UTF-8, no NUL. Not one of the passwords that most
    /// people choose, nor among the first that an attacker would try, nor the user's own name or address or
    /// made of their parts, also in disguise. It is taken as it is: not trimmed, not cut.
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
    /// What to call the user; the name where it is left out or null.
    #[schema(value_type = Option<PersonName>)]
    display_name: Option<String>,
}

/// Makes an account.
///
/// A 201 means that the account is on disk. With an `Idempotency-Key` a signup can be sent again without
/// harm: it makes one account, and each try gets the same answer. Without one, after a 503 `unavailable` or a
/// broken connection, the account may or may not have been made.
#[utoipa::path(
    post,
    path = "/signup",
    operation_id = "sign_up",
    tag = "signup",
    params(
        (
            "Idempotency-Key" = inline(Option<Key>),
            Header,
            nullable = false,
            description = "Names this signup: a new one, such as a random UUID, for each signup, and the same \
                for each try of it. The first answer is kept for 24 hours, unless the service is set up \
                otherwise, and given again to the same values; with other values the key is refused. 1 to \
                255 visible ASCII characters without comma and quotes; or a string in double quotes as RFC \
                9651 has it, whose parameters are ignored. Optional, unless the service is set up to require \
                it. Sent once."
        ),
    ),
    request_body(
        content = SignUpRequest,
        content_type = "application/json",
        description = "At most 16 KiB, without a `Content-Encoding`.",
        examples(
            ("required" = (
                summary = "Only what is needed",
                value = json!({
                    "name": "Ada Lovelace",
                    "email": "ada@example.org",
                    "password": "correct horse battery staple",
                })
            )),
            ("all" = (
                summary = "Every field",
                value = json!({
                    "name": "Ada Lovelace",
                    "email": "Ada@example.org",
                    "password": "correct horse battery staple",
                    "display_name": "Ada",
                })
            )),
        )
    ),
    responses(
        (
            status = 201,
            description = "The account was made: now, or by an earlier try with the same key.",
            links(
                ("user" = (
                    operation_id = "get_user",
                    parameters(("id" = "$response.body#/id")),
                    description = "The user that was made."
                )),
                ("by_address" = (
                    operation_id = "list_users",
                    parameters(("email" = "$response.body#/email")),
                    description = "The same user, by the address."
                ))
            ),
            body = User,
            headers(("Location"), ("Idempotent-Replayed")),
            example = json!(User::example())
        ),
        Problems,
    )
)]
pub async fn sign_up(
    endpoint: Data<Endpoint>,
    key: IdempotencyHeader,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let context = context::current().ok_or_else(Problem::internal)?;
    if let (Some(rate_limit), Some(client)) = (&endpoint.rate_limit, context.client) {
        rate_limit.admit(client)?;
    }
    let body: SignUpRequest = read_json(&request, payload, endpoint.limits).await?;
    let network = context.client.as_ref().map(Client::network);
    // What will be refused is only read so far that an answer to its key is found.
    let admitted = endpoint.handler.admits(network, context.deadline);
    let validation = spans::child(&Span::current(), "validation");
    let fields = validation.in_scope(|| body.parse());
    drop(validation);
    let fields = fields.map_err(Problem::validation)?;
    let begun = spans::within("idempotency look-up", endpoint.begin(key, &fields));
    let first = match begun.await? {
        Begun::Replay(response) => return Ok(response),
        Begun::Unkeyed => None,
        Begun::First(first) => Some(first),
    };
    if let Err(refusal) = admitted {
        if matches!(refusal, SignUpError::Hash(HashError::Overloaded { .. })) {
            endpoint.metrics.hash_refused(HashRefused::Early);
        }
        return Err(refuse(refusal, context.deadline).await);
    }
    let command = SignUp {
        name: fields.name,
        display_name: fields.display_name,
        email: fields.email,
        password: fields.password,
        client: network,
        correlation_id: context.correlation_id.clone(),
        deadline: context.deadline,
        recorder: first.as_ref().map(|first| Recorder {
            claim: first.claim.clone(),
            created,
            email_taken: email_taken().into(),
        }),
    };
    let outcome = match endpoint.handler.handle(command).await {
        Ok(outcome) => outcome,
        Err(refusal) => return Err(refuse(refusal, context.deadline).await),
    };
    match outcome {
        Outcome::Created(user) => {
            tracing::info!(user_id = %user.id, "account created");
            let answer = created(&user);
            if let Some(first) = first {
                first.answered(&answer);
            }
            Ok(respond(answer, false))
        }
        Outcome::EmailTaken => {
            endpoint.metrics.duplicate_signup();
            if let Some(first) = first {
                first.answered(&email_taken().into());
            }
            Err(email_taken())
        }
        Outcome::AlreadyAnswered(record) => {
            let first = first.ok_or_else(Problem::internal)?;
            endpoint.idempotency.settle(&first.claim, record).await
        }
    }
}

/// How long a client that is refused for lack of time waits for its response. A connection that
/// retries at once then asks 20 times a second and not hundreds of times: refusals would take the
/// cores from the hashes of others.
const HOLD: Duration = Duration::from_millis(50);

/// The response to a signup that came to nothing, when it is due.
async fn refuse(error: SignUpError, deadline: Instant) -> Problem {
    if matches!(error, SignUpError::Hash(HashError::Overloaded { .. })) {
        let left = deadline.saturating_duration_since(Instant::now());
        tokio::time::sleep(HOLD.min(left / 2)).await;
    }
    error.into()
}

/// The schema of the header `Idempotency-Key`.
// An example beside the schema would be filled in by Swagger UI, and everybody would send the same key.
struct Key;

impl PartialSchema for Key {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(
                r#"^([!#-+\--~]{1,255}|"([ !#-\[\]-~]|\\["\\]){1,255}"(; *[a-z][a-z0-9_]*(=[A-Za-z][A-Za-z0-9_]*)?){0,9})$"#,
            ))
            .examples(["5b0f3c1e-7d0a-4f5e-9a55-0c1d1f7a2b90"])
            .into()
    }
}

impl ToSchema for Key {}

/// What a signup may be refused with.
struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[
            ProblemType::IdempotencyKeyInvalid,
            ProblemType::IdempotencyKeyMissing,
            ProblemType::EmailAlreadyRegistered,
            ProblemType::RequestInProgress,
            ProblemType::PayloadTooLarge,
            ProblemType::UnsupportedMediaType,
            ProblemType::ValidationFailed,
            ProblemType::IdempotencyKeyReused,
            ProblemType::IdempotencyKeyExhausted,
            ProblemType::RateLimited,
            ProblemType::Overloaded,
            ProblemType::Unavailable,
        ])
    }
}

/// The answer to a signup that made this user.
fn created(user: &UserView) -> Answer {
    Answer {
        status: 201,
        location: Some(format!("/users/{}", user.id)),
        content_type: "application/json".to_owned(),
        body: serde_json::to_vec(&User::from(user)).expect("a user is made of strings"),
    }
}

fn email_taken() -> Problem {
    Problem::new(
        ProblemType::EmailAlreadyRegistered,
        "The address has an account already.",
    )
}

impl Endpoint {
    /// Looks whether the key has been answered for these fields.
    async fn begin(&self, key: IdempotencyHeader, fields: &Fields) -> Result<Begun, Problem> {
        let values = [
            Some(fields.name.as_str().as_bytes()),
            Some(fields.email.as_typed().as_bytes()),
            Some(fields.password.expose_bytes()),
            Some(fields.display_name.as_str().as_bytes()),
        ];
        self.idempotency.begin(key.0, "POST /signup", &values).await
    }
}

/// The fields of a signup, each valid.
struct Fields {
    name: Name,
    display_name: Name,
    email: Email,
    password: Candidate,
}

impl SignUpRequest {
    /// Checks every field, and tells of all that break their rules. Whether the password is
    /// guessable takes too long for here: that is found when it is hashed.
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
        let password = self
            .password
            .ok_or(MISSING)
            .and_then(|secret| Candidate::parse(secret, &about_the_user));
        let password = check(&mut errors, PASSWORD, password);
        let display_name = match self.display_name.as_deref() {
            None => name.clone(),
            Some(text) => check(&mut errors, "/display_name", Name::parse(text)),
        };
        match (name, display_name, email, password) {
            (Some(name), Some(display_name), Some(email), Some(password)) => Ok(Fields {
                name,
                display_name,
                email,
                password,
            }),
            _ => Err(errors),
        }
    }
}

const PASSWORD: &str = "/password";

const MISSING: BrokenRule = BrokenRule::new("required", "Is missing.");

fn required<T>(
    text: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, BrokenRule>,
) -> Result<T, BrokenRule> {
    text.ok_or(MISSING).and_then(parse)
}

fn check<T>(
    errors: &mut Vec<FieldError>,
    pointer: &'static str,
    result: Result<T, BrokenRule>,
) -> Option<T> {
    result
        .map_err(|rule| errors.push(broken(pointer, rule)))
        .ok()
}

fn broken(pointer: &'static str, rule: BrokenRule) -> FieldError {
    FieldError {
        pointer,
        code: rule.code,
        detail: rule.detail,
    }
}

impl From<SignUpError> for Problem {
    fn from(error: SignUpError) -> Self {
        match error {
            SignUpError::Hash(HashError::Guessable(rule)) => {
                Self::validation(vec![broken(PASSWORD, rule)])
            }
            SignUpError::Hash(HashError::Overloaded { retry_after }) => Self::new(
                ProblemType::Overloaded,
                "Too many signups are waiting. Nothing was done.",
            )
            .retry_after(retry_after),
            SignUpError::Hash(HashError::Failed) => {
                tracing::error!("the password could not be hashed");
                Self::internal()
            }
            SignUpError::Hash(HashError::Stopped) => Self::unavailable(),
            SignUpError::Store(error) => error.into(),
        }
    }
}

#[derive(OpenApi)]
#[openapi(paths(sign_up), components(schemas(SignUpRequest)))]
struct Api;

/// The slice's part of the OpenAPI document.
pub fn api() -> utoipa::openapi::OpenApi {
    Api::openapi()
}
