//! HTTP in and out.

use std::sync::Arc;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use utoipa::OpenApi;

use super::store::UserStore;
use crate::domain::UserId;
use crate::platform::problem::{Problem, ProblemBody, ProblemType};
use crate::platform::representation::User;

/// What the endpoint needs.
pub struct Endpoint {
    pub store: Arc<dyn UserStore>,
}

/// One user.
#[utoipa::path(
    get,
    path = "/users/{id}",
    tag = "users",
    params(("id" = String, Path, format = "uuid", description = "The id that signup gave.")),
    responses(
        (status = 200, description = "The user.", body = User),
        (status = 404, description = "There is no such user.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store can't be reached.", body = ProblemBody, content_type = "application/problem+json",
            headers(("Retry-After" = u64, description = "Seconds to wait before the next try."))),
    )
)]
pub async fn get_user(
    endpoint: Data<Endpoint>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    // What is no id can't be a user's: no need to ask the store.
    let id: UserId = request
        .match_info()
        .query("id")
        .parse()
        .map_err(|_| not_found())?;
    match endpoint.store.by_id(id).await? {
        Some(user) => Ok(HttpResponse::Ok().json(User::from(&user))),
        None => Err(not_found()),
    }
}

fn not_found() -> Problem {
    Problem::new(ProblemType::UserNotFound, "No user has this id.")
}

#[derive(OpenApi)]
#[openapi(paths(get_user))]
struct Api;

/// The slice's part of the OpenAPI document.
pub fn api() -> utoipa::openapi::OpenApi {
    Api::openapi()
}
