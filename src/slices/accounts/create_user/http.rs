//! HTTP handler: the body, its validation, the responses, and their documentation.

use std::sync::Arc;

use actix_web::HttpResponse;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::store::{CreateUser, Outcome};
use crate::access::Access;
use crate::access::authenticator::Reason;
use crate::dependencies::Dependencies;
use crate::domain::{Email, Locale, Name, PasswordHash, Permission, UserId};
use crate::http::authorization;
use crate::http::changes::{Circumstances, sends_mail};
use crate::http::middleware::idempotency::respond;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{FieldError, Problem, ProblemType};
use crate::http::validation::{check, optional, required};
use crate::idempotency::Begun;
use crate::platform::database::Database;
use crate::slices::accounts::new_account::{FirstMail, NewAccount};
use crate::slices::accounts::problems::{ACCOUNT_ERASED, EMAIL_ALREADY_REGISTERED};
use crate::slices::user::{EmailAddress, LanguageTag, PersonName, UserResponse};
use crate::tokens::one_time::Use;

/// The largest body, in bytes.
const MAX_BODY: usize = 16 * 1024;

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    let write = Access::Needs(Permission::UsersWrite);
    vec![
        Operation::post("/admin/users", write)
            .keyed()
            .body(MAX_BODY)
            .documented(documentation)
            .handled_by(|dependencies| {
                let state = Arc::new(State::new(dependencies));
                move |call| create_user(Arc::clone(&state), call)
            }),
    ]
}

/// The dependencies of the handler.
struct State {
    database: Database,
    sends_mail: bool,
    circumstances: Circumstances,
}

impl State {
    fn new(dependencies: &Dependencies) -> Self {
        Self {
            database: dependencies.database.clone(),
            sends_mail: dependencies.delivery.is_some(),
            circumstances: Circumstances::new(dependencies),
        }
    }
}

/// A user to create. There is no password: the user chooses it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUserRequest {
    /// The user's name.
    #[schema(value_type = PersonName, required = true)]
    name: Option<String>,
    /// The user's address, to which the mail goes.
    #[schema(value_type = EmailAddress, required = true)]
    email: Option<String>,
    /// The display name; the name if it is omitted or null.
    #[schema(value_type = Option<PersonName>)]
    display_name: Option<String>,
    /// The language of mails to the user; that of the service if it is omitted, null or not there.
    #[schema(value_type = Option<LanguageTag>)]
    locale: Option<String>,
}

/// The validated fields.
struct Fields {
    name: Name,
    display_name: Name,
    locale: Option<Locale>,
    email: Email,
}

impl CreateUserRequest {
    fn parse(self) -> Result<Fields, Vec<FieldError>> {
        let mut errors = Vec::new();
        let name = required(self.name.as_deref(), Name::parse);
        let name = check(&mut errors, "/name", name);
        let email = required(self.email.as_deref(), Email::parse);
        let email = check(&mut errors, "/email", email);
        let display_name = match self.display_name.as_deref() {
            None => name.clone(),
            Some(text) => check(&mut errors, "/display_name", Name::parse(text)),
        };
        let locale = optional(self.locale.as_deref(), Locale::parse);
        let locale = check(&mut errors, "/locale", locale);
        match (name, display_name, locale, email) {
            (Some(name), Some(display_name), Some(locale), Some(email)) => Ok(Fields {
                name,
                display_name,
                locale,
                email,
            }),
            _ => Err(errors),
        }
    }
}

async fn create_user(state: Arc<State>, mut call: Call) -> Result<HttpResponse, Problem> {
    sends_mail(state.sends_mail)?;
    let fields = call.validated(CreateUserRequest::parse).await?;
    let mut values = vec![
        Some(fields.name.as_str().as_bytes()),
        Some(fields.email.as_typed().as_bytes()),
        Some(fields.display_name.as_str().as_bytes()),
    ];
    values.extend(Locale::values(fields.locale.as_ref()));
    let execution = match call.begin(&values).await? {
        Begun::Replay(recorded) => return Ok(respond(&recorded, render)),
        Begun::Execute(execution) => execution,
    };
    let (change, _) = state.circumstances.of(&call)?;
    let account = NewAccount {
        id: UserId::new(change.id()),
        event_id: change.id(),
        name: fields.name,
        display_name: fields.display_name,
        locale: fields.locale,
        email: fields.email,
        password_hash: PasswordHash::none(),
        created_at: change.at,
        correlation_id: change.correlation_id.clone(),
        actor: Some(change.actor.clone()),
        imported: None,
        verification: Some(FirstMail {
            purpose: Use::SetPassword,
            mail: change.id(),
            token: change.id(),
        }),
    };
    let work = CreateUser { account, change };
    let recorded = execution.write(&state.database, work).await?;
    if let Outcome::Created(user) = &recorded.outcome
        && !recorded.is_replay
    {
        tracing::info!(user_id = %user.id, "account created by an administrator");
    }
    Ok(respond(&recorded, render))
}

/// The response to the outcome.
fn render(outcome: &Outcome) -> Result<HttpResponse, Problem> {
    match outcome {
        Outcome::Created(user) => Ok(HttpResponse::Created().json(UserResponse::from(user))),
        Outcome::EmailTaken => Err(EMAIL_ALREADY_REGISTERED.into()),
        Outcome::AccountErased => Err(ACCOUNT_ERASED.into()),
        Outcome::CallerEnded => Err(authorization::invalid(Reason::Revoked)),
    }
}

fn documentation() -> Documentation {
    Documentation::new("create_user", "users", "Makes an account for another person.")
        .description(
            "A mail to the address has a link to choose the password, for 72 hours; `POST \
             /admin/users/{id}/password-reset` sends another one. Its use confirms the address. With an `Idempotency-Key` it \
             can be retried.",
        )
        .body::<CreateUserRequest>(
            "At most 16 KiB.",
            [(
                "user",
                "A user",
                json!({ "name": "Ada Lovelace", "email": "ada@example.org", "display_name": "Ada" }),
            )],
        )
        .fields(&["/name", "/email", "/display_name", "/locale"])
        .json::<UserResponse<'_>>(201, "The account.", json!(UserResponse::example()))
        .problems(&[
            EMAIL_ALREADY_REGISTERED,
            ACCOUNT_ERASED,
            ProblemType::VALIDATION_FAILED,
            ProblemType::UNAVAILABLE,
        ])
}
