//! HTTP handler and its documentation.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;

use crate::access::Access;
use crate::access::authenticator::Reason;
use crate::access::erasure::{Eraser, ErasureOutcome};
use crate::http::authorization;
use crate::http::changes::Circumstances;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Method, Operation};
use crate::http::problem::{Problem, ProblemType};

/// How long ago the password may have been sent.
const FRESH: Duration = Duration::from_mins(5);

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::of(Method::Delete, "/users/me", Access::Fresh(FRESH))
            .rate_limited_by_user(|settings| settings.user_rate)
            .documented(documentation)
            .handled_by(|dependencies| {
                let eraser = Eraser::new(dependencies);
                let circumstances = Arc::new(Circumstances::new(dependencies));
                move |call| erase(eraser.clone(), Arc::clone(&circumstances), call)
            }),
    ]
}

async fn erase(
    eraser: Eraser,
    circumstances: Arc<Circumstances>,
    call: Call,
) -> Result<HttpResponse, Problem> {
    let user = call.user()?.user;
    let (change, _) = circumstances.of(&call)?;
    match eraser.erase(user, change).await? {
        ErasureOutcome::Erased(_) => {
            tracing::info!(user_id = %user, "account erased");
            Ok(HttpResponse::NoContent().finish())
        }
        ErasureOutcome::NoSuchUser => Err(authorization::invalid(Reason::Erased)),
        ErasureOutcome::LastAdmin => Err(ProblemType::LAST_ADMIN.into()),
    }
}

fn documentation() -> Documentation {
    Documentation::new("erase_account", "users", "Erases the caller's account.")
        .description(
            "At once and for good: the account, its sessions and tokens, its name and address in the history. The address is \
             free again. A mail says so. A retry gets 401 `access-token-invalid` with the reason `erased`: it was done.",
        )
        .no_content("The account is erased.")
        .problems(&[ProblemType::LAST_ADMIN, ProblemType::RATE_LIMITED, ProblemType::UNAVAILABLE])
}
