//! HTTP in and out: the query string, the pages.

use std::collections::BTreeMap;

use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{ObjectBuilder, Ref, RefOr, Response, Schema, Type};
use utoipa::{IntoResponses, OpenApi, PartialSchema, ToSchema};

use super::cursor;
use super::store::{self, Position};
use crate::domain::Email;
use crate::platform::database::Database;
use crate::platform::openapi::problems;
use crate::platform::problem::{Problem, ProblemType};
use crate::platform::representation::{EmailAddress, User};

/// Users on a page where the client does not say.
const DEFAULT_LIMIT: u32 = 20;
/// The most users on a page.
const MAX_LIMIT: u32 = 100;

/// The most parameters in a query, known or not.
const MAX_PARAMETERS: usize = 16;

/// What the endpoint needs.
pub struct Endpoint {
    pub database: Database,
}

/// A page of users.
#[derive(Serialize, ToSchema)]
pub struct UserPage<'a> {
    /// Newest first.
    #[schema(max_items = 100)]
    users: Vec<User<'a>>,
    /// Where the next page begins; null on the last page.
    #[schema(
        required = true,
        example = "AQAGYMOPz9ivAaH80NkMd8CBwttJLul3yTI-PHnsEX9_"
    )]
    next_cursor: Option<String>,
}

/// What a look-up by address found: one user or none.
#[derive(Serialize, ToSchema)]
pub struct FoundUsers<'a> {
    /// The user with the address.
    #[schema(max_items = 1)]
    users: Vec<User<'a>>,
}

/// The schema of either. One path and method are one operation, whatever the parameters.
pub struct Users;

impl PartialSchema for Users {
    fn schema() -> RefOr<Schema> {
        // The page first: generated clients take the first that fits, and a page fits the look-up too.
        AnyOfBuilder::new()
            .item(Ref::from_schema_name("UserPage"))
            .item(Ref::from_schema_name("FoundUsers"))
            .description(Some(
                "A page, which has `next_cursor`; or what a look-up by address found, which has not.",
            ))
            .into()
    }
}

impl ToSchema for Users {}

/// Users, newest first, or the one with an address.
///
/// Without `email` it is a page of all users: go on with `next_cursor` until it is null. With `email` it is
/// the user whose address this is, or nobody; `limit` and `cursor` must then be valid, and have no effect.
/// Parameters that are not known are ignored; one that stands twice is refused, and so are more than 16.
#[utoipa::path(
    get,
    path = "/users",
    operation_id = "list_users",
    tag = "users",
    params(
        (
            "email" = Option<EmailAddress>,
            Query,
            description = "Only the user with this address, compared as signup does. A plus sign must be sent \
                as `%2B`."
        ),
        (
            "limit" = inline(Option<Limit>),
            Query,
            description = "Users on the page."
        ),
        (
            "cursor" = inline(Option<Cursor>),
            Query,
            description = "The `next_cursor` of the page before, as it was given. Left out, the page is the \
                first."
        ),
    ),
    responses(
        (
            status = 200,
            description = "The users.",
            links(
                ("next_page" = (
                    operation_id = "list_users",
                    parameters(("cursor" = "$response.body#/next_cursor")),
                    description = "The next page, unless `next_cursor` is null."
                ))
            ),
            body = Users,
            examples(
                ("page" = (
                    summary = "A page, with more behind it",
                    value = json!({
                        "users": [User::example()],
                        "next_cursor": "AQAGYMOPz9ivAaH80NkMd8CBwttJLul3yTI-PHnsEX9_",
                    })
                )),
                ("last_page" = (
                    summary = "The last page",
                    value = json!({"users": [User::example()], "next_cursor": null})
                )),
                ("found" = (
                    summary = "The user with an address",
                    value = json!({"users": [User::example()]})
                )),
                ("nobody" = (summary = "Nobody has the address", value = json!({"users": []}))),
            )
        ),
        Problems,
    )
)]
pub async fn list_users(
    endpoint: Data<Endpoint>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    match Parameters::parse(request.query_string())? {
        Parameters::ByEmail(email) => {
            let user = store::by_email(&endpoint.database, &email).await?;
            Ok(HttpResponse::Ok().json(FoundUsers {
                users: user.iter().map(User::from).collect(),
            }))
        }
        Parameters::Page { limit, after } => {
            let page = store::page(&endpoint.database, limit, after).await?;
            let next_cursor = page
                .users
                .last()
                .filter(|_| page.has_more)
                .map(cursor::after);
            Ok(HttpResponse::Ok().json(UserPage {
                users: page.users.iter().map(User::from).collect(),
                next_cursor,
            }))
        }
    }
}

/// The schema of the parameter `limit`.
struct Limit;

impl PartialSchema for Limit {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(MAX_LIMIT))
            .default(Some(DEFAULT_LIMIT.into()))
            .into()
    }
}

impl ToSchema for Limit {}

/// The schema of the parameter `cursor`.
// An example beside the schema would be filled in by Swagger UI, and ask for another page than the first.
struct Cursor;

impl PartialSchema for Cursor {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .examples(["AQAGYMOPz9ivAaH80NkMd8CBwttJLul3yTI-PHnsEX9_"])
            .into()
    }
}

impl ToSchema for Cursor {}

/// What a list or a look-up may be refused with.
struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[ProblemType::InvalidParameter, ProblemType::Unavailable])
    }
}

/// What the query string asks for.
pub enum Parameters {
    /// The user with this address.
    ByEmail(Email),
    /// So many users, 1 to 100, behind this one.
    Page {
        /// How many.
        limit: u32,
        /// Behind which; from the first where there is none.
        after: Option<Position>,
    },
}

impl Parameters {
    /// Reads a query string, without its question mark.
    ///
    /// # Errors
    /// 400 for the parameter that breaks its rule.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        // Before a text is made of each of them.
        if query.split('&').nth(MAX_PARAMETERS).is_some() {
            return Err(invalid("There are more than 16 parameters."));
        }
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
#[openapi(
    paths(list_users),
    components(schemas(Users, UserPage, FoundUsers, EmailAddress))
)]
struct Api;

/// The slice's part of the OpenAPI document.
pub fn api() -> utoipa::openapi::OpenApi {
    Api::openapi()
}
