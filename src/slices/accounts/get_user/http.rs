//! HTTP handler and its documentation.

use actix_web::HttpResponse;
use serde_json::json;

use super::store;
use crate::access::Access;
use crate::domain::{Permission, UserId};
use crate::http::conditional;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{Problem, ProblemType};
use crate::platform::database::Database;
use crate::slices::accounts::http::by_id;
use crate::slices::accounts::problems::USER_NOT_FOUND;
use crate::slices::user::UserResponse;

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/users/{id}", Access::own("id", Permission::UsersRead))
            .hidden_as(USER_NOT_FOUND)
            .documented(documentation)
            .handled_by(|dependencies| {
                let database = dependencies.database.clone();
                move |call| get_user(database.clone(), call)
            }),
    ]
}

async fn get_user(database: Database, call: Call) -> Result<HttpResponse, Problem> {
    // An invalid id belongs to no user: no query is needed.
    let id: UserId = call.path("id").parse().map_err(|_| USER_NOT_FOUND)?;
    match store::by_id(&database, id).await? {
        Some(user) => Ok(conditional::json(&call.request, &UserResponse::from(&user))),
        None => Err(USER_NOT_FOUND.into()),
    }
}

fn documentation() -> Documentation {
    by_id(Documentation::new("get_user", "users", "One user."))
        .conditional()
        .json::<UserResponse>(200, "The user.", json!(UserResponse::example()))
        .problems(&[USER_NOT_FOUND, ProblemType::UNAVAILABLE])
}
