//! HTTP in and out.

use std::collections::BTreeMap;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use utoipa::openapi::{RefOr, Response};
use utoipa::{IntoResponses, OpenApi};

use super::store;
use crate::domain::UserId;
use crate::platform::database::Database;
use crate::platform::openapi::problems;
use crate::platform::problem::{Problem, ProblemType};
use crate::platform::representation::User;

/// What the endpoint needs.
pub struct Endpoint {
    pub database: Database,
}

/// One user.
#[utoipa::path(
    get,
    path = "/users/{id}",
    operation_id = "get_user",
    tag = "users",
    params((
        "id" = String,
        Path,
        format = "uuid",
        description = "The id that signup gave, with its hyphens, in either case.",
        example = "01a1fcd0-39d9-7edf-9953-1bfef046d2c7"
    )),
    responses(
        (status = 200, description = "The user.", body = User, example = json!(User::example())),
        Problems,
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
    match store::by_id(&endpoint.database, id).await? {
        Some(user) => Ok(HttpResponse::Ok().json(User::from(&user))),
        None => Err(not_found()),
    }
}

/// What a look-up may be refused with.
struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[ProblemType::UserNotFound, ProblemType::Unavailable])
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
