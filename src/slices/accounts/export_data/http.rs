//! HTTP handler and its documentation.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_DISPOSITION;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::store::{LogExport, MOST, export};
use crate::access::Access;
use crate::access::auth_log::Entry;
use crate::access::authenticator::Reason;
use crate::config::Rate;
use crate::http::authorization;
use crate::http::changes::Circumstances;
use crate::http::openapi::Documentation;
use crate::http::operation::{Call, Operation};
use crate::http::problem::{Problem, ProblemType};
use crate::platform::database::Database;
use crate::platform::limits::{Bound, Limit};

/// How long ago the password may have been sent.
const FRESH: Duration = Duration::from_mins(10);

/// How often a user gets an export.
const RATE: Rate = Rate {
    requests: 5,
    window: Duration::from_hours(1),
};

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[Limit {
    what: "Entries of each list of an export",
    bound: Bound::Count(MOST),
    effect: "older ones are left out",
}];

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/users/me/export", Access::Fresh(FRESH))
            .rate_limited_by_user(|_| Some(RATE))
            .documented(documentation)
            .handled_by(|dependencies| {
                let database = dependencies.database.clone();
                let circumstances = Arc::new(Circumstances::new(dependencies));
                move |call| export_data(database.clone(), Arc::clone(&circumstances), call)
            }),
    ]
}

async fn export_data(
    database: Database,
    circumstances: Arc<Circumstances>,
    call: Call,
) -> Result<HttpResponse, Problem> {
    let caller = call.user()?;
    let Some(export) = export(&database, caller.user).await? else {
        return Err(authorization::invalid(Reason::Erased));
    };
    let (change, _) = circumstances.of(&call)?;
    let entry = Entry {
        id: change.id(),
        user: Some(caller.user),
        session: Some(caller.session),
        actor: "user",
        action: "export",
        outcome: "succeeded",
        network: change.network,
        correlation_id: change.correlation_id,
        at: change.at,
    };
    database.write(LogExport(entry)).await?;
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_DISPOSITION, "attachment; filename=\"account.json\""))
        .json(export))
}

/// Everything that is stored about a user. Times have the form of `created_at` of a user. Members may be
/// added.
#[derive(ToSchema)]
#[schema(as = Export)]
#[expect(dead_code, reason = "it describes the response")]
pub struct ExportResponse {
    /// The account, with its roles and times.
    #[schema(value_type = Object)]
    account: Value,
    /// Sessions, the newest first; those that have ended are kept for some days.
    #[schema(value_type = Vec<Object>, max_items = 10_000)]
    sessions: Vec<Value>,
    /// The history of the account, the newest first.
    #[schema(value_type = Vec<Object>, max_items = 10_000)]
    events: Vec<Value>,
    /// Logins and exports of the last 90 days, the newest first.
    #[schema(value_type = Vec<Object>, max_items = 10_000)]
    log: Vec<Value>,
    /// Mails of the last 90 days, the newest first: their kinds and times.
    #[schema(value_type = Vec<Object>, max_items = 10_000)]
    mails: Vec<Value>,
}

fn documentation() -> Documentation {
    Documentation::new(
        "export_account",
        "users",
        "Everything that is stored about the caller.",
    )
    .description(
        "The account, its sessions, its history, the log of logins and the mails, as JSON for people and machines. No \
         password hash, token or key is in it. At most five in an hour.",
    )
    .json::<ExportResponse>(200, "The data.", example())
    .problems(&[ProblemType::RATE_LIMITED, ProblemType::UNAVAILABLE])
}

fn example() -> Value {
    let time = "2026-11-21T06:34:27.161988Z";
    json!({
        "account": {
            "id": crate::slices::user::EXAMPLE_ID,
            "name": "Ada Lovelace",
            "email": "Ada@example.org",
            "display_name": "Ada",
            "locale": "en-GB",
            "created_at": time,
            "updated_at": null,
            "email_verified_at": time,
            "password_changed_at": null,
            "status": "active",
            "roles": [],
        },
        "sessions": [],
        "events": [{
            "type": "user.email_verified",
            "occurred_at": time,
            "payload": {},
        }],
        "log": [{ "at": time, "action": "login", "outcome": "succeeded", "network": "192.0.2.0/24" }],
        "mails": [{ "kind": "verify", "created_at": time, "sent_at": time }],
    })
}
