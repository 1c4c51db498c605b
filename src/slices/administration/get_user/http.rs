//! HTTP handler: the response, and its documentation.

use std::sync::Arc;

use actix_web::HttpResponse;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::store::{self, Details, Event, Granted, Session};
use crate::access::Access;
use crate::domain::Permission;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{Problem, ProblemType};
use crate::platform::clock::{Clock, timestamp};
use crate::platform::database::Database;
use crate::slices::administration::http::{
    EXAMPLE_ADMIN, EXAMPLE_TIME, EXAMPLE_USER, of_user, user,
};

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/admin/users/{id}", Access::Needs(Permission::UsersRead))
            .documented(documentation)
            .handled_by(|dependencies| {
                let database = dependencies.database.clone();
                let clock = Arc::clone(&dependencies.clock);
                move |call| get_user(database.clone(), Arc::clone(&clock), call)
            }),
    ]
}

/// A user, as administrators see it.
#[derive(Serialize, ToSchema)]
pub struct AdministeredUser {
    /// The id of the user.
    #[schema(format = "uuid", example = json!(EXAMPLE_USER))]
    id: String,
    /// The name sent at signup.
    #[schema(example = "Ada Lovelace")]
    name: String,
    /// The address as typed.
    #[schema(example = "Ada@example.org")]
    email: String,
    /// The display name.
    #[schema(example = "Ada")]
    display_name: String,
    /// Whether the address was verified.
    #[schema(example = true)]
    email_verified: bool,
    /// Whether the user may log in.
    #[schema(example = "active")]
    status: String,
    /// Counts the changes of the account.
    #[schema(example = 0)]
    version: i32,
    /// When the account was created.
    #[schema(format = "date-time", example = json!(EXAMPLE_TIME))]
    created_at: String,
    /// When it was last changed; null if never.
    #[schema(format = "date-time", required = true)]
    updated_at: Option<String>,
    /// The roles that were granted, by name. Every user has the role `user` as well.
    #[schema(max_items = 100)]
    roles: Vec<GrantedRole>,
    /// The sessions that have not ended, the newest first.
    #[schema(max_items = 100)]
    sessions: Vec<LiveSession>,
    /// The history, the newest first: the last 100 events.
    #[schema(max_items = 100)]
    events: Vec<HistoryEvent>,
}

/// A role that was granted.
#[derive(Serialize, ToSchema)]
pub struct GrantedRole {
    /// The role.
    #[schema(example = "support")]
    role: String,
    /// Who granted it: the id of a user or of a service key, or `cli`.
    #[schema(example = json!(EXAMPLE_ADMIN))]
    granted_by: String,
    /// When.
    #[schema(format = "date-time", example = json!(EXAMPLE_TIME))]
    granted_at: String,
}

/// A session that has not ended.
#[derive(Serialize, ToSchema)]
pub struct LiveSession {
    /// The id of the session.
    #[schema(format = "uuid", example = json!(EXAMPLE_ADMIN))]
    id: String,
    /// What its user calls it.
    #[schema(required = true, example = "phone")]
    label: Option<String>,
    /// The network of its last use, not its whole address.
    #[schema(required = true, example = "192.0.2.0/24")]
    network: Option<String>,
    /// When the user logged in.
    #[schema(format = "date-time", example = json!(EXAMPLE_TIME))]
    created_at: String,
    /// When it was last refreshed.
    #[schema(format = "date-time", example = json!(EXAMPLE_TIME))]
    last_used_at: String,
    /// When it ends at the latest.
    #[schema(format = "date-time", example = json!(EXAMPLE_TIME))]
    expires_at: String,
}

/// An event of the history.
#[derive(Serialize, ToSchema)]
pub struct HistoryEvent {
    /// The id of the event.
    #[schema(format = "uuid", example = json!(EXAMPLE_ADMIN))]
    id: String,
    /// What happened, such as `user.signed_up`.
    #[serde(rename = "type")]
    #[schema(example = "user.role_granted")]
    kind: String,
    /// When.
    #[schema(format = "date-time", example = json!(EXAMPLE_TIME))]
    occurred_at: String,
    /// The correlation id of the request.
    #[schema(example = "order-42")]
    correlation_id: String,
    /// Who did it: the id of a user or of a service key, or `cli`; null if it was the user.
    #[schema(required = true, example = json!(EXAMPLE_ADMIN))]
    actor: Option<String>,
    /// The rest, by the type of the event. It has no secrets.
    #[schema(value_type = Object)]
    payload: Value,
}

async fn get_user(
    database: Database,
    clock: Arc<dyn Clock>,
    call: Call,
) -> Result<HttpResponse, Problem> {
    let found = store::by_id(&database, user(&call)?, clock.now()).await?;
    let details = found.ok_or(ProblemType::USER_NOT_FOUND)?;
    Ok(HttpResponse::Ok().json(AdministeredUser::from(details)))
}

impl From<Details> for AdministeredUser {
    fn from(details: Details) -> Self {
        let Details {
            user,
            roles,
            sessions,
            events,
        } = details;
        Self {
            id: user.id.to_string(),
            name: user.name,
            email: user.email,
            display_name: user.display_name,
            email_verified: user.email_verified,
            status: user.status,
            version: user.version,
            created_at: timestamp(user.created_at),
            updated_at: user.updated_at.map(timestamp),
            roles: roles.into_iter().map(GrantedRole::from).collect(),
            sessions: sessions.into_iter().map(LiveSession::from).collect(),
            events: events.into_iter().map(HistoryEvent::from).collect(),
        }
    }
}

impl From<Granted> for GrantedRole {
    fn from(granted: Granted) -> Self {
        Self {
            role: granted.role,
            granted_by: granted.by,
            granted_at: timestamp(granted.at),
        }
    }
}

impl From<Session> for LiveSession {
    fn from(session: Session) -> Self {
        Self {
            id: session.id.to_string(),
            label: session.label,
            network: session.network,
            created_at: timestamp(session.created_at),
            last_used_at: timestamp(session.last_used_at),
            expires_at: timestamp(session.expires_at),
        }
    }
}

impl From<Event> for HistoryEvent {
    fn from(event: Event) -> Self {
        let mut payload = event.payload;
        let actor = payload
            .as_object_mut()
            .and_then(|members| members.remove("actor"))
            .and_then(|actor| actor.as_str().map(str::to_owned));
        Self {
            id: event.id.to_string(),
            kind: event.kind,
            occurred_at: timestamp(event.at),
            correlation_id: event.correlation_id,
            actor,
            payload,
        }
    }
}

fn documentation() -> Documentation {
    let example = json!({
        "id": EXAMPLE_USER,
        "name": "Ada Lovelace",
        "email": "Ada@example.org",
        "display_name": "Ada",
        "email_verified": true,
        "status": "active",
        "version": 0,
        "created_at": EXAMPLE_TIME,
        "updated_at": null,
        "roles": [{"role": "support", "granted_by": EXAMPLE_ADMIN, "granted_at": EXAMPLE_TIME}],
        "sessions": [{
            "id": EXAMPLE_ADMIN,
            "label": "phone",
            "network": "192.0.2.0/24",
            "created_at": EXAMPLE_TIME,
            "last_used_at": EXAMPLE_TIME,
            "expires_at": EXAMPLE_TIME,
        }],
        "events": [{
            "id": EXAMPLE_ADMIN,
            "type": "user.role_granted",
            "occurred_at": EXAMPLE_TIME,
            "correlation_id": "order-42",
            "actor": EXAMPLE_ADMIN,
            "payload": {"role": "support"},
        }],
    });
    of_user(Documentation::new(
        "get_administered_user",
        "users",
        "A user, with its roles, its live sessions and its history.",
    ))
    .json::<AdministeredUser>(200, "The user.", example)
    .problems(&[ProblemType::USER_NOT_FOUND, ProblemType::UNAVAILABLE])
}
