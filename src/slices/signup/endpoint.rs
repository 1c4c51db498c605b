//! HTTP in and out: the body, its rules, the answers.

use std::sync::Arc;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use secrecy::SecretString;
use serde::Deserialize;
use tracing::Span;
use utoipa::{OpenApi, ToSchema};

use super::command::{Outcome, Recorder, SignUp, SignUpError, SignUpHandler};
use crate::domain::{Answer, BrokenRule, Email, Name, Password, UserView};
use crate::hashing::HashError;
use crate::middleware::idempotency::{Begun, Idempotency, IdempotencyHeader, respond};
use crate::middleware::rate_limit::RateLimit;
use crate::platform::body::{BodyLimits, read_json};
use crate::platform::context;
use crate::platform::crash;
use crate::platform::metrics::{HashRefused, Metrics};
use crate::platform::problem::{FieldError, Problem, ProblemBody, ProblemType};
use crate::platform::representation::User;
use crate::platform::telemetry::spans;

/// What the endpoint needs.
pub struct Endpoint {
    pub handler: SignUpHandler,
    pub limits: BodyLimits,
    pub idempotency: Arc<Idempotency>,
    pub rate_limit: Option<RateLimit>,
    pub metrics: Metrics,
}

/// The body of a signup. It has no `Debug`: it carries a password.
///
/// Every field is optional here, so that all missing ones are told at once.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignUpRequest {
    /// 1 to 255 characters after trimming, no control characters.
    #[schema(
        required = true,
        nullable = false,
        min_length = 1,
        max_length = 255,
        example = "Ada Lovelace"
    )]
    name: Option<String>,
    /// At most 254 octets, at most 64 of them before the @.
    #[schema(
        required = true,
        nullable = false,
        format = "email",
        max_length = 254,
        example = "ada@example.org"
    )]
    email: Option<String>,
    /// At least 8 characters and at most 1024 bytes; not among the first that an attacker would
    /// try, nor the user's own name or address.
    #[schema(value_type = String, required = true, format = "password", min_length = 8, max_length = 1024, example = "correct horse battery staple")]
    password: Option<SecretString>,
    /// What to call the user; the name where it is left out.
    #[schema(min_length = 1, max_length = 255, example = "Ada")]
    display_name: Option<String>,
}

/// Makes an account.
#[utoipa::path(
    post,
    path = "/signup",
    tag = "signup",
    params(
        ("Idempotency-Key" = Option<String>, Header, max_length = 257, description = "Names this signup: the same for each try of it. The first answer is kept for 24 hours and given again."),
    ),
    request_body = SignUpRequest,
    responses(
        (status = 201, description = "The account was made.", body = User,
            headers(
                ("Location" = String, description = "Where the user is: /users/{id}."),
                ("Idempotent-Replayed" = String, description = "true where the answer was given before."),
            )),
        (status = 400, description = "The body is not the JSON that is wanted, or the key is no key.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 408, description = "The body did not arrive in time.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "The address has an account, or the same request is still running.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 413, description = "The body is over 16 KiB.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 415, description = "The body is not JSON by its Content-Type.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "Fields break their rules, all of which are listed; or the key was used with another request.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 429, description = "The client sent too many signups, or the key was used with too many other requests.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Overloaded, or the outcome is unknown.", body = ProblemBody, content_type = "application/problem+json",
            headers(("Retry-After" = u64, description = "Seconds to wait before the next try."))),
    )
)]
pub async fn sign_up(
    endpoint: Data<Endpoint>,
    key: IdempotencyHeader,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    if let Some(rate_limit) = &endpoint.rate_limit {
        rate_limit.admit(&request)?;
    }
    let body: SignUpRequest = read_json(&request, payload, endpoint.limits).await?;
    let context = context::current().ok_or_else(Problem::internal)?;
    // What will be refused is only read so far that an answer to its key is found.
    let admitted = endpoint.handler.admits(context.deadline);
    let parse_password = match admitted {
        Ok(()) => Password::parse,
        Err(_) => Password::parse_unguessed,
    };
    let validation = spans::child(&Span::current(), "validation");
    let fields = validation.in_scope(|| body.parse(parse_password));
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
        return Err(refusal.into());
    }
    let command = SignUp {
        name: fields.name,
        display_name: fields.display_name,
        email: fields.email,
        password: fields.password,
        correlation_id: context.correlation_id.clone(),
        deadline: context.deadline,
        recorder: first.as_ref().map(|first| Recorder {
            claim: first.claim.clone(),
            created,
            email_taken: email_taken().into(),
        }),
    };
    match endpoint.handler.handle(command).await? {
        Outcome::Created(user) => {
            tracing::info!(user_id = %user.id, "account created");
            let answer = created(&user);
            if let Some(first) = first {
                first.answered(&answer);
            }
            crash::point("before-answer");
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
    password: Password,
}

type ParsePassword = fn(SecretString, &[&str]) -> Result<Password, BrokenRule>;

impl SignUpRequest {
    /// Checks every field, and tells of all that break their rules.
    fn parse(self, parse_password: ParsePassword) -> Result<Fields, Vec<FieldError>> {
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
            .and_then(|secret| parse_password(secret, &about_the_user));
        let password = check(&mut errors, "/password", password);
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
        .map_err(|rule| {
            errors.push(FieldError {
                pointer,
                code: rule.code,
                detail: rule.detail,
            });
        })
        .ok()
}

impl From<SignUpError> for Problem {
    fn from(error: SignUpError) -> Self {
        match error {
            SignUpError::Hash(HashError::Overloaded { retry_after }) => Self::new(
                ProblemType::Overloaded,
                "Too many signups are waiting. Nothing was done.",
            )
            .retry_after(retry_after),
            SignUpError::Hash(HashError::Failed) => Self::internal(),
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
