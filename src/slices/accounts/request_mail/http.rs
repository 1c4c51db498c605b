//! HTTP handlers: the address, the row in the queue, and their documentation.

use std::sync::Arc;

use actix_web::HttpResponse;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::ResponseBuilder;

use crate::access::Access;
use crate::dependencies::Dependencies;
use crate::domain::Email;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{FieldError, Problem, ProblemType};
use crate::http::validation::{check, required};
use crate::mail::queue::{self, Kind, NewMail};
use crate::mail::seal;
use crate::platform::clock::{Clock, Randomness, uuid_v7};
use crate::platform::database::Database;
use crate::slices::user::EmailAddress;
use crate::tokens::Tokens;

/// The largest body, in bytes.
const MAX_BODY: usize = 4 * 1024;

/// An operation: its path, the mail that it asks for, and its documentation.
type Requested = (&'static str, Kind, fn() -> Documentation);

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    let requests: [Requested; 2] = [
        (
            "/auth/verify-email/resend",
            Kind::VerifyRequest,
            document_resend,
        ),
        ("/auth/password/forgot", Kind::ResetRequest, document_forgot),
    ];
    let operations = requests.map(|(path, kind, documentation)| {
        Operation::post(
            path,
            Access::Public("the mailbox is the credential: the response says nothing"),
        )
        .body(MAX_BODY)
        .rate_limited(|settings| settings.mail_rate)
        .documented(documentation)
        .handled_by(move |dependencies| {
            let state = Arc::new(State::new(dependencies));
            move |call| request(Arc::clone(&state), kind, call)
        })
    });
    operations.into_iter().collect()
}

/// The dependencies of the handlers.
struct State {
    database: Database,
    /// Whether mails go anywhere. If not, none waits for ever.
    sends: bool,
    tokens: Arc<Tokens>,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
}

impl State {
    fn new(dependencies: &Dependencies) -> Self {
        Self {
            database: dependencies.database.clone(),
            sends: dependencies.delivery.is_some(),
            tokens: Arc::clone(&dependencies.tokens),
            clock: Arc::clone(&dependencies.clock),
            randomness: Arc::clone(&dependencies.randomness),
        }
    }
}

/// The body of a request for a mail.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MailRequest {
    /// The address of the account. Case does not matter.
    #[schema(value_type = EmailAddress, required = true)]
    email: Option<String>,
}

impl MailRequest {
    fn parse(self) -> Result<Email, Vec<FieldError>> {
        let mut errors = Vec::new();
        let email = check(
            &mut errors,
            "/email",
            required(self.email.as_deref(), Email::parse),
        );
        email.ok_or(errors)
    }
}

async fn request(state: Arc<State>, kind: Kind, mut call: Call) -> Result<HttpResponse, Problem> {
    let email = call.validated(MailRequest::parse).await?;
    let at = state.clock.now();
    let id = uuid_v7(at, state.randomness.as_ref());
    let sealed = seal(&state.tokens.secrets, id, email.canonical());
    let sealed = sealed.ok_or_else(Problem::internal)?;
    let mail = NewMail::to_address(id, kind, sealed, at);
    if state.sends {
        queue::add_alone(&state.database, &mail).await?;
    }
    Ok(HttpResponse::Accepted().finish())
}

fn documented(documentation: Documentation) -> Documentation {
    documentation
        .body::<MailRequest>(
            "At most 4 KiB.",
            [(
                "address",
                "An address",
                json!({ "email": "ada@example.org" }),
            )],
        )
        .fields(&["/email"])
        .response(
            202,
            ResponseBuilder::new()
                .description("A mail is sent if the address has an account that wants it."),
        )
        .problems(&[
            ProblemType::VALIDATION_FAILED,
            ProblemType::RATE_LIMITED,
            ProblemType::UNAVAILABLE,
        ])
}

fn document_resend() -> Documentation {
    documented(
        Documentation::new(
            "resend_verification",
            "accounts",
            "Sends the mail that confirms an address again.",
        )
        .description(
            "The response is the same for every address. The link of an earlier mail is then void. An address gets at \
             most three such mails an hour.",
        ),
    )
}

fn document_forgot() -> Documentation {
    documented(
        Documentation::new(
            "forgot_password",
            "accounts",
            "Sends a link to choose a new password.",
        )
        .description(
            "The response is the same for every address. The link works once, for 30 minutes; the one of an earlier mail \
             is then void. The last one that an address gets for some time works for 24 hours, and no later one voids \
             it. An address gets at most three such mails an hour.",
        ),
    )
}
