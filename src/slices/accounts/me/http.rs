//! HTTP handler and its documentation.

use actix_web::HttpResponse;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::store::{self, Account};
use crate::access::Access;
use crate::http::conditional;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{Problem, ProblemType};
use crate::platform::clock::timestamp;
use crate::platform::database::Database;
use crate::slices::accounts::problems::USER_NOT_FOUND;
use crate::slices::user::UserResponse;

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/users/me", Access::User)
            .documented(documentation)
            .handled_by(|dependencies| {
                let database = dependencies.database.clone();
                move |call| me(database.clone(), call)
            }),
    ]
}

/// The caller's own account: the members of a `User`, and those that only the user sees.
#[derive(Serialize, ToSchema)]
#[schema(as = Account)]
pub struct AccountResponse<'a> {
    #[serde(flatten)]
    user: UserResponse<'a>,
    /// Whether the user has proved to own the address.
    #[schema(example = true)]
    email_verified: bool,
    /// `active` or `suspended`.
    #[schema(example = "active")]
    status: &'a str,
    /// The roles that were granted, in order; every user has the role `user` beside them.
    #[schema(example = json!(["support"]))]
    roles: &'a [String],
    /// When the account was last changed, in the form of `created_at`; null if never.
    #[schema(
        required = true,
        format = "date-time",
        example = "2026-11-22T10:00:00.000000Z"
    )]
    updated_at: Option<String>,
}

impl<'a> From<&'a Account> for AccountResponse<'a> {
    fn from(account: &'a Account) -> Self {
        Self {
            user: UserResponse::from(&account.user),
            email_verified: account.email_verified,
            status: &account.status,
            roles: &account.roles,
            updated_at: account.updated_at.map(timestamp),
        }
    }
}

async fn me(database: Database, call: Call) -> Result<HttpResponse, Problem> {
    match store::by_id(&database, call.user()?.user).await? {
        Some(account) => Ok(conditional::json(
            &call.request,
            &AccountResponse::from(&account),
        )),
        // It was erased a moment ago; in two seconds its tokens are refused.
        None => Err(USER_NOT_FOUND.into()),
    }
}

fn documentation() -> Documentation {
    let roles = ["support".to_owned()];
    let example = AccountResponse {
        user: UserResponse::example(),
        email_verified: true,
        status: "active",
        roles: &roles,
        updated_at: None,
    };
    Documentation::new("me", "users", "The caller's own account.")
        .description(
            "The members of `GET /users/{id}`, and the state of the account. It is never older than the caller's last \
             change.",
        )
        .conditional()
        .json::<AccountResponse<'_>>(200, "The account.", json!(example))
        .problems(&[USER_NOT_FOUND, ProblemType::UNAVAILABLE])
}
