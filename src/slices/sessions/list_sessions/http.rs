//! HTTP handler and its documentation.

use std::sync::Arc;

use actix_web::HttpResponse;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::store::{self, Listed, MAX_SESSIONS};
use crate::access::Access;
use crate::domain::SessionId;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{Problem, ProblemType};
use crate::platform::clock::{Clock, timestamp};
use crate::platform::database::Database;
use crate::platform::limits::{Bound, Limit};
use crate::slices::sessions::http::EXAMPLE_SESSION;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[Limit {
    what: "Sessions that are listed",
    bound: Bound::Count(MAX_SESSIONS),
    effect: "older ones are left out",
}];

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/users/me/sessions", Access::User)
            .documented(documentation)
            .handled_by(|dependencies| {
                let database = dependencies.database.clone();
                let clock = Arc::clone(&dependencies.clock);
                move |call| list_sessions(database.clone(), Arc::clone(&clock), call)
            }),
    ]
}

/// The live sessions of the caller.
#[derive(Serialize, ToSchema)]
pub struct Sessions {
    /// Newest first.
    #[schema(max_items = 50)]
    sessions: Vec<SessionResponse>,
}

/// A session.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionResponse {
    /// A UUIDv7, in lower case and with hyphens.
    #[schema(format = "uuid", example = json!(EXAMPLE_SESSION))]
    id: String,
    /// What the client called itself at login; null if nothing.
    #[schema(required = true, example = "Ada's phone")]
    label: Option<String>,
    /// When the user logged in. RFC 3339, in UTC, with six digits of microseconds.
    #[schema(format = "date-time", example = "2026-11-21T06:34:27.161988Z")]
    created_at: String,
    /// When the session was last refreshed, in the same form; when the user logged in, if never.
    #[schema(format = "date-time", example = "2026-11-21T07:04:27.161988Z")]
    last_used_at: String,
    /// The network of the client at that time: an address without its last bits; null if unknown.
    #[schema(required = true, example = "192.0.2.0/24")]
    network: Option<String>,
    /// Whether it is the session of this request.
    #[schema(example = true)]
    current: bool,
}

impl SessionResponse {
    fn new(session: Listed, current: SessionId) -> Self {
        Self {
            current: session.id == current,
            id: session.id.to_string(),
            label: session.label,
            created_at: timestamp(session.created_at),
            last_used_at: timestamp(session.last_used_at),
            network: session.network,
        }
    }
}

async fn list_sessions(
    database: Database,
    clock: Arc<dyn Clock>,
    call: Call,
) -> Result<HttpResponse, Problem> {
    let caller = call.user()?;
    let live = store::live(&database, caller.user, clock.now()).await?;
    let sessions = live.into_iter();
    Ok(HttpResponse::Ok().json(Sessions {
        sessions: sessions
            .map(|session| SessionResponse::new(session, caller.session))
            .collect(),
    }))
}

fn documentation() -> Documentation {
    Documentation::new(
        "list_sessions",
        "sessions",
        "The live sessions of the caller, newest first.",
    )
    .description(
        "Sessions that have ended, were not used for too long or reached their maximum age are not listed.",
    )
    .json::<Sessions>(200, "The sessions.", example())
    .problems(&[ProblemType::UNAVAILABLE])
}

fn example() -> Value {
    json!({
        "sessions": [
            {
                "id": EXAMPLE_SESSION,
                "label": "Ada's phone",
                "created_at": "2026-11-21T06:34:27.161988Z",
                "last_used_at": "2026-11-21T07:04:27.161988Z",
                "network": "192.0.2.0/24",
                "current": true,
            },
            {
                "id": "01a1fcd0-35d9-7c3e-a1b2-93c8e1f0a4d7",
                "label": null,
                "created_at": "2026-11-20T18:12:03.004211Z",
                "last_used_at": "2026-11-20T18:12:03.004211Z",
                "network": "2001:db8:1::/48",
                "current": false,
            },
        ],
    })
}
