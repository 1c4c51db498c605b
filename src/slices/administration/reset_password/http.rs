//! HTTP handler and its documentation.

use std::sync::Arc;

use actix_web::HttpResponse;
use utoipa::openapi::ResponseBuilder;

use super::store::BeginReset;
use crate::access::Access;
use crate::access::change;
use crate::dependencies::Dependencies;
use crate::domain::Permission;
use crate::http::changes::{Circumstances, sends_mail};
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{Problem, ProblemType};
use crate::platform::database::Database;
use crate::slices::administration::http::{of_user, user};

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    let write = Access::Needs(Permission::UsersWrite);
    vec![
        Operation::post("/admin/users/{id}/password-reset", write)
            .documented(documentation)
            .handled_by(|dependencies| {
                let state = Arc::new(State::new(dependencies));
                move |call| reset_password(Arc::clone(&state), call)
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

async fn reset_password(state: Arc<State>, call: Call) -> Result<HttpResponse, Problem> {
    sends_mail(state.sends_mail)?;
    let user = user(&call)?;
    let (change, _) = state.circumstances.of(&call)?;
    let work = BeginReset {
        user,
        change: change.clone(),
    };
    if !change::write(&state.database, &change, work).await? {
        return Err(ProblemType::USER_NOT_FOUND.into());
    }
    tracing::info!(user_id = %user, "password reset begun");
    Ok(HttpResponse::Accepted().finish())
}

fn documentation() -> Documentation {
    of_user(Documentation::new(
        "begin_password_reset",
        "users",
        "Sends a user the mail to choose another password.",
    ))
    .description(
        "The password until now works until the user has chosen another one. A link of an earlier mail is void. The \
         administrator learns neither the link nor the password.",
    )
    .response(202, ResponseBuilder::new().description("A mail is sent."))
    .problems(&[ProblemType::USER_NOT_FOUND, ProblemType::UNAVAILABLE])
}
