//! HTTP handler: the address, the response, and their documentation.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::ResponseBuilder;

use super::store::{ChangeEmail, MOST, Outcome};
use crate::access::Access;
use crate::access::authenticator::Reason;
use crate::dependencies::Dependencies;
use crate::domain::Email;
use crate::http::authorization;
use crate::http::changes::{Circumstances, sends_mail};
use crate::http::middleware::idempotency::respond;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{FieldError, Problem, ProblemType};
use crate::http::validation::{check, required};
use crate::idempotency::Begun;
use crate::platform::database::Database;
use crate::platform::limits::{Bound, Limit};
use crate::slices::user::EmailAddress;

/// How long ago the password may have been sent.
const FRESH: Duration = Duration::from_mins(10);

/// The largest body, in bytes.
const MAX_BODY: usize = 4 * 1024;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[Limit {
    what: "Changes of address that a user asks for in an hour; ten in a day",
    bound: Bound::Count(MOST[0].1 as usize),
    effect: "further ones have no effect; the response is the same",
}];

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::post("/users/me/email", Access::Fresh(FRESH))
            .keyed()
            .body(MAX_BODY)
            .rate_limited_by_user(|settings| settings.user_rate)
            .documented(documentation)
            .handled_by(|dependencies| {
                let state = Arc::new(State::new(dependencies));
                move |call| change_email(Arc::clone(&state), call)
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

/// The body of a change of address.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeEmailRequest {
    /// The new address.
    #[schema(value_type = EmailAddress, required = true)]
    email: Option<String>,
}

impl ChangeEmailRequest {
    fn parse(self) -> Result<Email, Vec<FieldError>> {
        let mut errors = Vec::new();
        let email = required(self.email.as_deref(), Email::parse);
        check(&mut errors, "/email", email).ok_or(errors)
    }
}

async fn change_email(state: Arc<State>, mut call: Call) -> Result<HttpResponse, Problem> {
    sends_mail(state.sends_mail)?;
    let email = call.validated(ChangeEmailRequest::parse).await?;
    let values = [Some(email.as_typed().as_bytes())];
    let execution = match call.begin(&values).await? {
        Begun::Replay(recorded) => return Ok(respond(&recorded, render)),
        Begun::Execute(execution) => execution,
    };
    let (change, _) = state.circumstances.of(&call)?;
    let work = ChangeEmail {
        caller: call.user()?.clone(),
        change,
        email,
    };
    let recorded = execution.write(&state.database, work).await?;
    Ok(respond(&recorded, render))
}

/// The response to the outcome of a request.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "outcomes are rendered by reference"
)]
fn render(outcome: &Outcome) -> Result<HttpResponse, Problem> {
    match outcome {
        Outcome::Accepted => Ok(HttpResponse::Accepted().finish()),
        Outcome::CallerEnded => Err(authorization::invalid(Reason::Revoked)),
    }
}

fn documentation() -> Documentation {
    Documentation::new("change_email", "accounts", "Asks for another address.")
        .description(
            "The account keeps its address until the link of a mail to the new one is used. A mail to the address until now \
             can undo it, for seven days. The response is the same for every address, also for one that has an account. \
             A user is heard three times an hour, and an address gets three such mails an hour.",
        )
        .body::<ChangeEmailRequest>(
            "At most 4 KiB.",
            [("address", "An address", json!({ "email": "ada@lovelace.example" }))],
        )
        .fields(&["/email"])
        .response(202, ResponseBuilder::new().description("Mails are sent."))
        .problems(&[
            ProblemType::VALIDATION_FAILED,
            ProblemType::RATE_LIMITED,
            ProblemType::UNAVAILABLE,
        ])
}
