//! HTTP handler and its documentation.

use std::sync::Arc;

use actix_web::HttpResponse;

use crate::access::Access;
use crate::access::erasure::{Eraser, ErasureOutcome};
use crate::domain::Permission;
use crate::http::changes::Circumstances;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Method, Operation};
use crate::http::problem::{Problem, ProblemType};
use crate::slices::administration::http::{of_user, user};

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    let erase = Access::Needs(Permission::UsersErase);
    vec![
        Operation::of(Method::Delete, "/admin/users/{id}", erase)
            .documented(documentation)
            .handled_by(|dependencies| {
                let eraser = Eraser::new(dependencies);
                let circumstances = Arc::new(Circumstances::new(dependencies));
                move |call| erase_user(eraser.clone(), Arc::clone(&circumstances), call)
            }),
    ]
}

async fn erase_user(
    eraser: Eraser,
    circumstances: Arc<Circumstances>,
    call: Call,
) -> Result<HttpResponse, Problem> {
    let user = user(&call)?;
    let (change, _) = circumstances.of(&call)?;
    match eraser.erase(user, change).await? {
        ErasureOutcome::Erased(_) => {
            tracing::info!(user_id = %user, "account erased");
            Ok(HttpResponse::NoContent().finish())
        }
        ErasureOutcome::NoSuchUser => Err(ProblemType::USER_NOT_FOUND.into()),
        ErasureOutcome::LastAdmin => Err(ProblemType::LAST_ADMIN.into()),
    }
}

fn documentation() -> Documentation {
    of_user(Documentation::new("erase_user", "users", "Erases a user."))
        .description(
            "At once and for good: the account, its sessions and tokens, its name and address in the history. A mail says \
             so. A retry gets 404: it was done.",
        )
        .no_content("The user is erased.")
        .problems(&[
            ProblemType::USER_NOT_FOUND,
            ProblemType::LAST_ADMIN,
            ProblemType::UNAVAILABLE,
        ])
}
