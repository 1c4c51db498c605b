//! HTTP handler and its documentation.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::store::{self, Account, DisplayName, Language, MOST, Outcome, UpdateProfile};
use crate::access::Access;
use crate::access::authenticator::Reason;
use crate::domain::{Locale, Name};
use crate::http::changes::Circumstances;
use crate::http::json::Patched;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Method, Operation};
use crate::http::problem::{FieldError, Problem, ProblemType};
use crate::http::validation::{check, required};
use crate::http::{authorization, conditional};
use crate::platform::clock::timestamp;
use crate::platform::database::Database;
use crate::platform::limits::{Bound, Limit};
use crate::slices::accounts::problems::{PRECONDITION_FAILED, USER_NOT_FOUND};
use crate::slices::user::{LanguageTag, PersonName, UserResponse};

/// The largest body, in bytes.
const MAX_BODY: usize = 4 * 1024;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[Limit {
    what: "Changes of a profile in a day",
    bound: Bound::Count(MOST as usize),
    effect: "429 `rate-limited`",
}];

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/users/me", Access::User)
            .documented(documentation)
            .handled_by(|dependencies| {
                let database = dependencies.database.clone();
                move |call| me(database.clone(), call)
            }),
        Operation::of(Method::Patch, "/users/me", Access::User)
            .body(MAX_BODY)
            .rate_limited_by_user(|settings| settings.user_rate)
            .documented(document_update)
            .handled_by(|dependencies| {
                let database = dependencies.database.clone();
                let circumstances = Arc::new(Circumstances::new(dependencies));
                move |call| update(database.clone(), Arc::clone(&circumstances), call)
            }),
    ]
}

/// A change of the profile, as a JSON merge patch (RFC 7396): fields that are missing stay.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfilePatch {
    /// Another name.
    #[schema(value_type = PersonName)]
    #[serde(default)]
    name: Patched<String>,
    /// Another display name; null for the name.
    #[schema(value_type = Option<PersonName>)]
    #[serde(default)]
    display_name: Patched<String>,
    /// Another language of mails; null for that of the service.
    #[schema(value_type = Option<LanguageTag>)]
    #[serde(default)]
    locale: Patched<String>,
}

/// What a patch changes.
struct Changes {
    name: Option<Name>,
    display_name: DisplayName,
    language: Language,
}

impl ProfilePatch {
    fn parse(self) -> Result<Changes, Vec<FieldError>> {
        let mut errors = Vec::new();
        let name = match self.name {
            Patched::Missing => None,
            Patched::Null => check(&mut errors, "/name", required(None, Name::parse)),
            Patched::Set(name) => check(&mut errors, "/name", Name::parse(&name)),
        };
        let display_name = match self.display_name {
            Patched::Missing => DisplayName::Kept,
            Patched::Null => DisplayName::OfTheName,
            Patched::Set(name) => {
                let name = check(&mut errors, "/display_name", Name::parse(&name));
                name.map_or(DisplayName::Kept, DisplayName::Own)
            }
        };
        let language = match self.locale {
            Patched::Missing => Language::Kept,
            Patched::Null => Language::OfTheService,
            Patched::Set(tag) => {
                let locale = check(&mut errors, "/locale", Locale::parse(&tag));
                locale.map_or(Language::Kept, Language::Own)
            }
        };
        if errors.is_empty() {
            Ok(Changes {
                name,
                display_name,
                language,
            })
        } else {
            Err(errors)
        }
    }
}

async fn update(
    database: Database,
    circumstances: Arc<Circumstances>,
    mut call: Call,
) -> Result<HttpResponse, Problem> {
    let changes = call.validated_patch(ProfilePatch::parse).await?;
    let (change, _) = circumstances.of(&call)?;
    let precondition = conditional::expected(&call.request);
    let work = UpdateProfile {
        caller: call.user()?.clone(),
        change,
        name: changes.name,
        display_name: changes.display_name,
        language: changes.language,
        is_expected: move |account: &Account| {
            precondition.is_met_by(&AccountResponse::from(account))
        },
    };
    match database.write(work).await? {
        Outcome::Done(account) => Ok(conditional::json(
            &call.request,
            &AccountResponse::from(&account),
        )),
        Outcome::TooMany => Err(Problem::new(
            ProblemType::RATE_LIMITED,
            "The profile was changed too often today.",
        )
        .retry_after(Duration::from_hours(1))),
        Outcome::Unexpected => Err(PRECONDITION_FAILED.into()),
        Outcome::CallerEnded => Err(authorization::invalid(Reason::Revoked)),
    }
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
    /// The language of mails, if it is not that of the service: a tag of RFC 5646.
    #[schema(value_type = Option<LanguageTag>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    locale: Option<&'a str>,
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
            locale: account.locale.as_deref(),
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

fn example() -> Value {
    let roles = ["support".to_owned()];
    json!(AccountResponse {
        user: UserResponse::example(),
        email_verified: true,
        status: "active",
        roles: &roles,
        locale: Some("en-GB"),
        updated_at: None,
    })
}

fn document_update() -> Documentation {
    Documentation::new("update_profile", "users", "Changes the caller's profile.")
        .description(
            "A JSON merge patch (RFC 7396): fields that are missing stay, and a `display_name` of null is the name, a \
             `locale` of null the language of the service. With `If-Match`, it is made only if the account is the one that the client has read. A patch that changes nothing \
             is no change.",
        )
        .patch_body::<ProfilePatch>(
            "At most 4 KiB, as `application/merge-patch+json` or `application/json`.",
            [("rename", "Another display name", json!({ "display_name": "Ada L." }))],
        )
        .fields(&["/name", "/display_name", "/locale"])
        .json::<AccountResponse<'_>>(200, "The account as it is now.", example())
        .problems(&[
            PRECONDITION_FAILED,
            ProblemType::VALIDATION_FAILED,
            ProblemType::RATE_LIMITED,
            ProblemType::UNAVAILABLE,
        ])
}

fn documentation() -> Documentation {
    Documentation::new("me", "users", "The caller's own account.")
        .description(
            "The members of `GET /users/{id}`, and the state of the account. It is never older than the caller's last \
             change.",
        )
        .conditional()
        .json::<AccountResponse<'_>>(200, "The account.", example())
        .problems(&[USER_NOT_FOUND, ProblemType::UNAVAILABLE])
}
