//! The history of users: `user_events`, which only grows: an erasure removes what events say, and not the events.
//!
//! A write that changes a user appends an event, in its own transaction.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::domain::UserId;
use crate::platform::database::{Error, Json, Micros, Statement, Transaction};

/// What happened to a user. Its fields are the payload of the event.
///
/// The payload is a contract with the readers of the history: fields may be added, and a change of
/// meaning needs a new [`Event::SCHEMA_VERSION`]. It contains no secrets.
pub trait Event: Serialize + Send + Sync {
    /// The event's type, such as `user.signed_up`.
    const TYPE: &'static str;
    /// The version of the payload's schema.
    const SCHEMA_VERSION: i16 = 1;
}

/// The circumstances of an event.
#[derive(Debug, Clone)]
pub struct Circumstances {
    /// The event's id.
    pub event_id: Uuid,
    /// The user it happened to.
    pub user_id: UserId,
    /// When, in whole microseconds.
    pub at: DateTime<Utc>,
    /// The correlation id of the request.
    pub correlation_id: String,
}

static LAST_OF_PASSWORD: Statement = Statement::new(
    "SELECT type FROM user_events WHERE user_id = $1 \
     AND type IN ('user.password_breached', 'user.password_changed') \
     ORDER BY occurred_at DESC LIMIT 1",
);

/// A login had a password that is known from a breach.
#[derive(Serialize)]
struct PasswordBreached {}

impl Event for PasswordBreached {
    const TYPE: &'static str = "user.password_breached";
}

static INSERT_EVENT: Statement = Statement::new(
    "INSERT INTO user_events \
     (event_id, user_id, type, schema_version, occurred_at, correlation_id, payload) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)",
);

static REDACT: Statement = Statement::new("UPDATE user_events SET payload = $2 WHERE user_id = $1");

/// Removes what the events of a user say; that they happened, and when, stays.
///
/// # Errors
/// The driver's.
pub async fn redact(transaction: &mut Transaction, user: UserId) -> Result<(), Error> {
    let redacted = Json(json!({ "erased": true }));
    let row = (user.as_uuid(), redacted);
    transaction.execute(&REDACT, row).await.map(drop)
}

/// Appends an event. It comes last in the lock order of a transaction.
///
/// # Errors
/// The driver's.
pub async fn append<E: Event>(
    transaction: &mut Transaction,
    of: &Circumstances,
    event: E,
) -> Result<(), Error> {
    let row = (
        of.event_id,
        of.user_id.as_uuid(),
        E::TYPE,
        E::SCHEMA_VERSION,
        Micros(of.at),
        of.correlation_id.as_str(),
        Json(event),
    );
    transaction.execute(&INSERT_EVENT, row).await.map(drop)
}

/// Appends that the password of a user is known from a breach, once for each password. The transaction must have locked
/// the user, and it comes last in its lock order.
///
/// # Errors
/// The driver's.
pub async fn append_breached(
    transaction: &mut Transaction,
    of: &Circumstances,
) -> Result<(), Error> {
    let last: Option<(String,)> = transaction
        .fetch_optional(&LAST_OF_PASSWORD, (of.user_id.as_uuid(),))
        .await?;
    match last {
        Some((last,)) if last == PasswordBreached::TYPE => Ok(()),
        _ => append(transaction, of, PasswordBreached {}).await,
    }
}
