//! HTTP handlers: the token, the responses, and their documentation.

use std::sync::Arc;

use actix_web::HttpResponse;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;

use super::store::{Confirm, Outcome, Undo};
use crate::access::Access;
use crate::access::change::Actor;
use crate::access::feed::{Feed, Revocation};
use crate::dependencies::Dependencies;
use crate::domain::Email;
use crate::http::changes::Circumstances;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{FieldError, Problem, ProblemType};
use crate::http::validation::{check, required};
use crate::mail::links;
use crate::platform::clock::Clock;
use crate::platform::database::Database;
use crate::slices::accounts::http::EXAMPLE_TOKEN;
use crate::slices::accounts::problems::{EMAIL_ALREADY_REGISTERED, TOKEN_EXPIRED, TOKEN_INVALID};
use crate::tokens::one_time::Use;
use crate::tokens::secrets::TokenSecrets;

/// The largest body, in bytes.
const MAX_BODY: usize = 1024;

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        moving("/auth/email/confirm", Use::Change, document_confirm),
        moving("/auth/email/undo", Use::Undo, document_undo),
    ]
}

fn moving(path: &'static str, purpose: Use, documentation: fn() -> Documentation) -> Operation {
    Operation::post(
        path,
        Access::Public("the token of a mail is the credential"),
    )
    .body(MAX_BODY)
    .rate_limited(|settings| settings.login_rate)
    .documented(documentation)
    .handled_by(move |dependencies| {
        let state = Arc::new(State::new(dependencies));
        move |call| move_account(Arc::clone(&state), purpose, call)
    })
}

/// The dependencies of the handlers.
struct State {
    database: Database,
    secrets: Arc<TokenSecrets>,
    clock: Arc<dyn Clock>,
    circumstances: Circumstances,
    feed: Arc<Feed>,
}

impl State {
    fn new(dependencies: &Dependencies) -> Self {
        Self {
            database: dependencies.database.clone(),
            secrets: Arc::clone(&dependencies.tokens.secrets),
            clock: Arc::clone(&dependencies.clock),
            circumstances: Circumstances::new(dependencies),
            feed: Arc::clone(&dependencies.feed),
        }
    }
}

// It has no `Debug`, as it carries a token.
/// The body of a confirmation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MailToken {
    /// The token of the mail: what follows the `#` of its link.
    #[schema(value_type = String, required = true, example = json!(EXAMPLE_TOKEN))]
    token: Option<SecretString>,
}

impl MailToken {
    fn parse(self) -> Result<SecretString, Vec<FieldError>> {
        let mut errors = Vec::new();
        check(&mut errors, "/token", required(self.token, Ok)).ok_or(errors)
    }
}

async fn move_account(
    state: Arc<State>,
    purpose: Use,
    mut call: Call,
) -> Result<HttpResponse, Problem> {
    let token = call.validated(MailToken::parse).await?;
    let token = token.expose_secret();
    let link = links::find(&state.database, token, &[purpose], &state.secrets).await?;
    let link = link.ok_or(TOKEN_INVALID)?;
    if link.used_at.is_some() {
        // It was done, and is not done again.
        return Ok(HttpResponse::NoContent().finish());
    }
    // Its epoch is compared in the write.
    if !link.is_live(link.grant.epoch, state.clock.now()) {
        return Err(TOKEN_EXPIRED.into());
    }
    let email = link.grant.new_email.as_deref().map(Email::parse);
    let Some(Ok(email)) = email else {
        return Err(Problem::internal());
    };
    let change = state.circumstances.by(&call, Actor::User(link.grant.user));
    let moved = if purpose == Use::Undo {
        let work = Undo {
            link,
            email,
            change,
        };
        state.database.write(work).await?
    } else {
        let work = Confirm {
            link,
            email,
            change,
        };
        state.database.write(work).await?
    };
    match moved {
        Outcome::Done(user, epoch) => {
            state.feed.add(Revocation::User(user, epoch));
            tracing::info!(user_id = %user, by = purpose.as_str(), "address changed");
            Ok(HttpResponse::NoContent().finish())
        }
        Outcome::AlreadyDone => Ok(HttpResponse::NoContent().finish()),
        Outcome::EmailTaken => Err(EMAIL_ALREADY_REGISTERED.into()),
        Outcome::Expired => Err(TOKEN_EXPIRED.into()),
    }
}

fn documented(documentation: Documentation) -> Documentation {
    documentation
        .body::<MailToken>(
            "At most 1 KiB.",
            [("token", "A token", json!({ "token": EXAMPLE_TOKEN }))],
        )
        .fields(&["/token"])
        .problems(&[
            TOKEN_INVALID,
            TOKEN_EXPIRED,
            EMAIL_ALREADY_REGISTERED,
            ProblemType::VALIDATION_FAILED,
            ProblemType::RATE_LIMITED,
            ProblemType::UNAVAILABLE,
        ])
}

fn document_confirm() -> Documentation {
    documented(
        Documentation::new("confirm_email", "accounts", "Moves an account to another address.")
            .description(
                "It takes the token of the mail to the new address. The other sessions of the user end; the one that asked \
                 for the change is to be refreshed. A used token gets 204 again.",
            )
            .no_content("The account has the new address."),
    )
}

fn document_undo() -> Documentation {
    documented(
        Documentation::new("undo_email", "accounts", "Restores the address of an account.")
            .description(
                "It takes the token of the mail to the address before, also if the change was never confirmed. All sessions \
                 end, the password is removed, and a mail to this address has the link to choose another one. A used \
                 token gets 204 again.",
            )
            .no_content("The account has this address."),
    )
}
