//! HTTP handler: the cursor, the page, and their documentation.

use std::sync::Arc;

use actix_web::HttpResponse;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::{ObjectBuilder, Type};

use super::cursor::Cursor;
use super::store::{self, MAX_PAGE, Position, Revoked};
use crate::access::Access;
use crate::domain::Permission;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{Problem, ProblemType};
use crate::http::query::{QueryParameters, invalid};
use crate::platform::clock::{Clock, timestamp};
use crate::platform::database::Database;
use crate::platform::limits::{Bound, Limit};
use crate::slices::sessions::http::EXAMPLE_SESSION;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[Limit {
    what: "Revocations of a page",
    bound: Bound::Count(MAX_PAGE),
    effect: "further ones are on the next page",
}];

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/auth/revocations", Access::Needs(Permission::TokensCheck))
            .documented(documentation)
            .handled_by(|dependencies| {
                let database = dependencies.database.clone();
                let clock = Arc::clone(&dependencies.clock);
                move |call| revocations(database.clone(), Arc::clone(&clock), call)
            }),
    ]
}

/// A page of revocations.
#[derive(Serialize, ToSchema)]
pub struct Revocations {
    /// Oldest first.
    #[schema(max_items = 1000)]
    revocations: Vec<Revocation>,
    /// The cursor to go on with: at once after a full page of 1,000, later otherwise.
    #[schema(example = json!(CURSOR))]
    next: String,
}

/// Access tokens that are no longer accepted.
#[derive(Serialize, ToSchema)]
pub struct Revocation {
    /// A UUIDv7, in lower case and with hyphens. A revocation may be listed more than once.
    #[schema(format = "uuid", example = json!(EXAMPLE_SESSION))]
    id: String,
    /// Whose tokens: `session`, those with this `sid`; `user`, those with this `sub`.
    #[schema(example = "user")]
    kind: String,
    /// The id of the session or the user.
    #[schema(format = "uuid", example = json!(EXAMPLE_SESSION))]
    subject: String,
    /// Of a user, only tokens with a lower `epoch` are revoked; null if all of the subject are.
    #[schema(required = true, example = 4)]
    min_epoch: Option<i32>,
    /// Why, in a word, such as `logged_out`, `suspended`, `erased`. Others may be added.
    #[schema(example = "suspended")]
    reason: String,
    /// When. RFC 3339, in UTC, with six digits of microseconds.
    #[schema(format = "date-time", example = "2026-11-21T06:34:27.161988Z")]
    created_at: String,
    /// When all these tokens have expired, in the same form: it can be forgotten then.
    #[schema(format = "date-time", example = "2026-11-21T07:09:27.161988Z")]
    forget_at: String,
}

impl From<Revoked> for Revocation {
    fn from(row: Revoked) -> Self {
        Self {
            id: row.id.to_string(),
            kind: row.kind,
            subject: row.subject.to_string(),
            min_epoch: row.min_epoch,
            reason: row.reason,
            created_at: timestamp(row.created_at),
            forget_at: timestamp(row.forget_at),
        }
    }
}

async fn revocations(
    database: Database,
    clock: Arc<dyn Clock>,
    call: Call,
) -> Result<HttpResponse, Problem> {
    let parameters = QueryParameters::parse(call.request.query_string())?;
    let cursor = parameters
        .single("after")?
        .map(|text| Cursor::read(text).ok_or_else(|| invalid("after must be the next of a page.")))
        .transpose()?;
    // Before the query: what commits later is found by the next round.
    let now = clock.now();
    let (position, round) = match cursor {
        None => (Position::first(now), now),
        Some(cursor) => (cursor.after, cursor.round.unwrap_or(now)),
    };
    let rows = store::after(&database, position, now).await?;
    let next = match rows.last() {
        Some(last) if rows.len() == MAX_PAGE => Cursor::within(round, last.position()),
        _ => Cursor::behind(round),
    };
    Ok(HttpResponse::Ok().json(Revocations {
        revocations: rows.into_iter().map(Revocation::from).collect(),
        next: next.write(),
    }))
}

fn documentation() -> Documentation {
    // Swagger UI would fill in an example beside the schema, and ask for another page than the first.
    let after = ObjectBuilder::new()
        .schema_type(Type::String)
        .examples([CURSOR]);
    let next = LinkBuilder::new()
        .operation_id("list_revocations")
        .parameter("after", "$response.body#/next")
        .description("The revocations since.")
        .build();
    let revocation = json!({
        "id": "01a1fcd0-3ac6-71ca-aa05-2becdf0b43e1",
        "kind": "user",
        "subject": EXAMPLE_SESSION,
        "min_epoch": 4,
        "reason": "suspended",
        "created_at": "2026-11-21T06:34:27.161988Z",
        "forget_at": "2026-11-21T07:09:27.161988Z",
    });
    Documentation::new(
        "list_revocations",
        "sessions",
        "The revocations of access tokens that have not expired, oldest first.",
    )
    .description(
        "For services that check tokens themselves. Without `after` it begins with the oldest revocation that matters: \
         those of the last 35 minutes by default, the life of an access token and five minutes. Ask again with `next`, \
         every second or so; at once after a full page. A revocation may commit after others that carry a later time, \
         so the list goes back by a minute each time: expect each revocation several times, and keep it by its \
         `subject` until `forget_at`. A cursor does not expire.",
    )
    .query_parameter(
        "after",
        after,
        "The `next` of an earlier response, unchanged.",
    )
    .json_examples::<Revocations>(
        200,
        "The revocations.",
        [
            (
                "some",
                "A revocation",
                json!({ "revocations": [revocation], "next": CURSOR }),
            ),
            (
                "none",
                "Nothing was revoked",
                json!({ "revocations": [], "next": CURSOR }),
            ),
        ],
        [("next", next)],
    )
    .problems(&[ProblemType::INVALID_PARAMETER, ProblemType::UNAVAILABLE])
}

/// An example of a cursor.
const CURSOR: &str = "AQAGYMMeginAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAATLH1VUE3i84";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_a_cursor_is_one() {
        let now = chrono::DateTime::from_timestamp(1_795_241_067, 0).expect("in range");
        let cursor = Cursor::behind(now);
        assert_eq!(Cursor::read(CURSOR), Some(cursor), "{}", cursor.write());
    }
}
