//! HTTP handler: the query string, the pages, and their documentation.

use actix_web::HttpResponse;
use serde::Serialize;
use serde_json::json;
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{ObjectBuilder, Ref, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::cursor;
use super::store::{self, Position};
use crate::access::Access;
use crate::domain::{Email, Permission};
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{Problem, ProblemType};
use crate::http::query::{QueryParameters, invalid};
use crate::platform::database::Database;
use crate::platform::limits::{Bound, Limit};
use crate::slices::user::{EmailAddress, UserResponse};

/// The default number of users on a page.
const DEFAULT_LIMIT: u32 = 20;
/// The maximum number of users on a page.
const MAX_LIMIT: u32 = 100;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[Limit {
    what: "Users of a page",
    bound: Bound::Count(MAX_LIMIT as usize),
    effect: "400 `invalid-parameter`",
}];

/// A page of users.
#[derive(Serialize, ToSchema)]
pub struct UserPage<'a> {
    /// Newest first.
    #[schema(max_items = 100)]
    users: Vec<UserResponse<'a>>,
    /// The cursor of the next page; null on the last page.
    #[schema(
        required = true,
        example = json!(CURSOR)
    )]
    next_cursor: Option<String>,
}

/// The outcome of a look-up by address: one user or none.
#[derive(Serialize, ToSchema)]
pub struct FoundUsers<'a> {
    /// The user with the address.
    #[schema(max_items = 1)]
    users: Vec<UserResponse<'a>>,
}

/// The schema of both. One path and method are one operation, whatever the parameters.
pub struct Users;

impl PartialSchema for Users {
    fn schema() -> RefOr<Schema> {
        // The page first: generated clients take the first match, and a page matches the look-up,
        // too.
        AnyOfBuilder::new()
            .item(Ref::from_schema_name("UserPage"))
            .item(Ref::from_schema_name("FoundUsers"))
            .description(Some(
                "A page, which has `next_cursor`; or the outcome of a look-up by address, which does not.",
            ))
            .into()
    }
}

impl ToSchema for Users {}

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![list("/users", || documentation("list_users"))]
}

/// The same on the administration listener: its page is of another origin, and needs an access rule that
/// no setting opens.
pub fn on_administration() -> Vec<Operation> {
    vec![list("/admin/users", || {
        documentation("list_administered_users")
    })]
}

fn list(path: &'static str, documentation: fn() -> Documentation) -> Operation {
    Operation::get(path, Access::Needs(Permission::UsersRead))
        .documented(documentation)
        .handled_by(|dependencies| {
            let database = dependencies.database.clone();
            move |call| list_users(database.clone(), call)
        })
}

async fn list_users(database: Database, call: Call) -> Result<HttpResponse, Problem> {
    match Parameters::parse(call.request.query_string())? {
        Parameters::ByEmail(email) => {
            let user = store::by_email(&database, &email).await?;
            Ok(HttpResponse::Ok().json(FoundUsers {
                users: user.iter().map(UserResponse::from).collect(),
            }))
        }
        Parameters::Page { limit, after } => {
            let page = store::page(&database, limit, after).await?;
            let next_cursor = page
                .users
                .last()
                .filter(|_| page.has_more)
                .map(cursor::after);
            Ok(HttpResponse::Ok().json(UserPage {
                users: page.users.iter().map(UserResponse::from).collect(),
                next_cursor,
            }))
        }
    }
}

/// The request in the query string.
pub enum Parameters {
    /// The user with this address.
    ByEmail(Email),
    /// At most `limit` users, 1 to 100, after this position.
    Page {
        /// The maximum number of users.
        limit: u32,
        /// The position; `None` for the first page.
        after: Option<Position>,
    },
}

impl Parameters {
    /// Parses a query string, without its question mark.
    ///
    /// # Errors
    /// 400 for the invalid parameter.
    pub fn parse(query: &str) -> Result<Self, Problem> {
        let parameters = QueryParameters::parse(query)?;
        let limit = match parameters.single("limit")? {
            None => DEFAULT_LIMIT,
            Some(text) => Some(text)
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|text| text.parse().ok())
                .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                .ok_or_else(|| invalid("limit must be a whole number from 1 to 100."))?,
        };
        let after = parameters
            .single("cursor")?
            .map(|text| {
                cursor::read(text)
                    .ok_or_else(|| invalid("cursor must be the next_cursor of a page."))
            })
            .transpose()?;
        match parameters.single("email")? {
            None => Ok(Self::Page { limit, after }),
            Some(text) => Email::parse(text)
                .map(Self::ByEmail)
                .map_err(|_| invalid("email must be an e-mail address.")),
        }
    }
}

fn documentation(id: &'static str) -> Documentation {
    let limit = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(MAX_LIMIT))
        .default(Some(DEFAULT_LIMIT.into()));
    // Swagger UI would fill in an example beside the schema, and request another page than the
    // first.
    let cursor = ObjectBuilder::new()
        .schema_type(Type::String)
        .examples([CURSOR]);
    let user = || json!(UserResponse::example());
    let next_page = LinkBuilder::new()
        .operation_id(id)
        .parameter("cursor", "$response.body#/next_cursor")
        .description("The next page, unless `next_cursor` is null.")
        .build();
    let mut documentation = Documentation::new(
        id,
        "users",
        "Users, newest first, or the one with an address.",
    );
    let email = documentation.reference::<EmailAddress>();
    let _ = documentation.reference::<UserPage<'_>>();
    let _ = documentation.reference::<FoundUsers<'_>>();
    documentation
        .description(
            "Without `email` the response is a page of all users: continue with `next_cursor` until it is null. With `email` it is\n\
             the user with this address, if there is one; `limit` and `cursor` must then be valid, and have no effect.\n\
             Unknown parameters are ignored; a repeated one is refused, and so are more than 16.",
        )
        .query_parameter(
            "email",
            email,
            "Only the user with this address, compared as signup does. A plus sign must be sent as `%2B`.",
        )
        .query_parameter("limit", limit, "The maximum number of users on the page.")
        .query_parameter(
            "cursor",
            cursor,
            "The `next_cursor` of the previous page, unchanged. If omitted, the page is the first.",
        )
        .json_examples::<Users>(
            200,
            "The users.",
            [
                (
                    "page",
                    "A page, followed by more",
                    json!({"users": [user()], "next_cursor": CURSOR}),
                ),
                (
                    "last_page",
                    "The last page",
                    json!({"users": [user()], "next_cursor": null}),
                ),
                ("found", "The user with an address", json!({"users": [user()]})),
                ("none", "No user has the address", json!({"users": []})),
            ],
            [("next_page", next_page)],
        )
        .problems(&[ProblemType::INVALID_PARAMETER, ProblemType::UNAVAILABLE])
}

/// An example of a cursor.
const CURSOR: &str = "AQAGYMOPz9ivAaH80NkMd8CBwttJLul3yTI-PHnsEX9_";
