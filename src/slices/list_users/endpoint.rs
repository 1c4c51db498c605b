//! HTTP in and out: the query string, the pages.

use std::sync::Arc;

use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::cursor;
use super::store::{Position, UserDirectory};
use crate::domain::Email;
use crate::platform::problem::{Problem, ProblemBody, ProblemType};
use crate::platform::representation::User;

/// Users on a page where the client does not say.
const DEFAULT_LIMIT: u32 = 20;
/// The most users on a page.
const MAX_LIMIT: u32 = 100;

/// What the endpoint needs.
pub struct Endpoint {
    pub store: Arc<dyn UserDirectory>,
}

/// A page of users, or the one that a look-up found.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub enum Users<'a> {
    /// A page of the list.
    Page {
        /// Newest first.
        users: Vec<User<'a>>,
        /// Where the next page begins; null on the last page.
        next_cursor: Option<String>,
    },
    /// What a look-up by address found.
    Found {
        /// One user or none.
        users: Vec<User<'a>>,
    },
}

/// Users, newest first, or the one with an address.
#[utoipa::path(
    get,
    path = "/users",
    tag = "users",
    params(
        ("email" = Option<String>, Query, description = "Only the user with this address, compared as signup does. A plus sign must be sent as %2B."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, description = "Users on the page; 20 where it is left out."),
        ("cursor" = Option<String>, Query, description = "The next_cursor of the page before."),
    ),
    responses(
        (status = 200, description = "The users.", body = Users),
        (status = 400, description = "A parameter breaks its rule.", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "The store can't be reached.", body = ProblemBody, content_type = "application/problem+json",
            headers(("Retry-After" = u64, description = "Seconds to wait before the next try."))),
    )
)]
pub async fn list_users(
    endpoint: Data<Endpoint>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    match Parameters::parse(request.query_string())? {
        Parameters::ByEmail(email) => {
            let user = endpoint.store.by_email(&email).await?;
            Ok(HttpResponse::Ok().json(Users::Found {
                users: user.iter().map(User::from).collect(),
            }))
        }
        Parameters::Page { limit, after } => {
            let page = endpoint.store.page(limit, after).await?;
            let next_cursor = page
                .users
                .last()
                .filter(|_| page.has_more)
                .map(cursor::after);
            Ok(HttpResponse::Ok().json(Users::Page {
                users: page.users.iter().map(User::from).collect(),
                next_cursor,
            }))
        }
    }
}

/// What the query string asks for.
enum Parameters {
    ByEmail(Email),
    Page { limit: u32, after: Option<Position> },
}

impl Parameters {
    fn parse(query: &str) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::from_query(query)
            .map_err(|_| invalid("The query string can't be read."))?
            .into_inner();
        let limit = match single(&pairs, "limit")? {
            None => DEFAULT_LIMIT,
            Some(text) => Some(text)
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|text| text.parse().ok())
                .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                .ok_or_else(|| invalid("limit must be a whole number from 1 to 100."))?,
        };
        let after = single(&pairs, "cursor")?
            .map(|text| {
                cursor::read(text)
                    .ok_or_else(|| invalid("cursor must be the next_cursor of a page."))
            })
            .transpose()?;
        match single(&pairs, "email")? {
            None => Ok(Self::Page { limit, after }),
            Some(text) => Email::parse(text)
                .map(Self::ByEmail)
                .map_err(|_| invalid("email must be an e-mail address.")),
        }
    }
}

fn single<'a>(pairs: &'a [(String, String)], name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = pairs.iter().filter(|(key, _)| key == name);
    match (values.next(), values.next()) {
        (value, None) => Ok(value.map(|(_, value)| value.as_str())),
        (_, Some(_)) => Err(invalid("A parameter stands twice.")),
    }
}

fn invalid(detail: &'static str) -> Problem {
    Problem::new(ProblemType::InvalidParameter, detail)
}

#[derive(OpenApi)]
#[openapi(paths(list_users), components(schemas(Users)))]
struct Api;

/// The slice's part of the OpenAPI document.
pub fn api() -> utoipa::openapi::OpenApi {
    Api::openapi()
}
