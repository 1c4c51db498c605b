//! The reads of a user, from the primary: an administrator sees what was just changed.

#[cfg(test)]
mod contract;

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::{StoreError, UserId};
use crate::platform::database::{Database, Error, FromRow, Json, Micros, Row, Statement};
use crate::platform::limits::{Bound, Limit};

/// Sessions, roles, or events of a user that are returned.
pub const MAX_ROWS: usize = 100;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[Limit {
    what: "Roles, sessions and events of a user for administrators, each",
    bound: Bound::Count(MAX_ROWS),
    effect: "older ones are not returned",
}];

/// A user.
#[derive(Debug, Clone)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// The name sent at signup.
    pub name: String,
    /// The address as typed.
    pub email: String,
    /// The display name.
    pub display_name: String,
    /// Whether the address was verified.
    pub email_verified: bool,
    /// `active` or `suspended`.
    pub status: String,
    /// Counts the changes of the account.
    pub version: i32,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: Option<DateTime<Utc>>,
}

/// A role that was granted.
#[derive(Debug, Clone)]
pub struct Granted {
    /// The role.
    pub role: String,
    /// Who granted it.
    pub by: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// A session that has not ended.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its id.
    pub id: Uuid,
    /// What the user calls it.
    pub label: Option<String>,
    /// The network of the last use, as in the log.
    pub network: Option<String>,
    /// When the user logged in.
    pub created_at: DateTime<Utc>,
    /// When it was last refreshed.
    pub last_used_at: DateTime<Utc>,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
}

/// An event of the history.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its id.
    pub id: Uuid,
    /// Its type.
    pub kind: String,
    /// When.
    pub at: DateTime<Utc>,
    /// The correlation id of the request.
    pub correlation_id: String,
    /// What happened. It has no secrets.
    pub payload: Value,
}

static USER: Statement = Statement::new(
    "SELECT r.id, r.name, r.email, r.display_name, r.email_verified, u.status, u.version, \
     r.created_at, r.updated_at FROM users u JOIN users_read r ON r.id = u.id WHERE u.id = $1",
);

static ROLES: Statement = Statement::new(
    "SELECT role, granted_by, granted_at FROM user_roles WHERE user_id = $1 \
     ORDER BY role LIMIT $2",
);

static SESSIONS: Statement = Statement::new(
    "SELECT id, label, network, created_at, last_used_at, expires_at FROM sessions \
     WHERE user_id = $1 AND ended_at IS NULL AND idle_until > $2 AND expires_at > $2 \
     ORDER BY created_at DESC, id DESC LIMIT $3",
);

static EVENTS: Statement = Statement::new(
    "SELECT event_id, type, occurred_at, correlation_id, payload FROM user_events \
     WHERE user_id = $1 ORDER BY occurred_at DESC, event_id DESC LIMIT $2",
);

impl FromRow for User {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        let updated_at: Option<Micros> = row.get("updated_at")?;
        Ok(Self {
            id: UserId::new(row.get("id")?),
            name: row.get("name")?,
            email: row.get("email")?,
            display_name: row.get("display_name")?,
            email_verified: row.get("email_verified")?,
            status: row.get("status")?,
            version: row.get("version")?,
            created_at: row.get::<Micros>("created_at")?.0,
            updated_at: updated_at.map(|time| time.0),
        })
    }
}

impl FromRow for Granted {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        Ok(Self {
            role: row.get("role")?,
            by: row.get("granted_by")?,
            at: row.get::<Micros>("granted_at")?.0,
        })
    }
}

impl FromRow for Session {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        let time = |column: &str| row.get::<Micros>(column).map(|time| time.0);
        Ok(Self {
            id: row.get("id")?,
            label: row.get("label")?,
            network: row.get("network")?,
            created_at: time("created_at")?,
            last_used_at: time("last_used_at")?,
            expires_at: time("expires_at")?,
        })
    }
}

impl FromRow for Event {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        let payload: Json<Value> = row.get("payload")?;
        Ok(Self {
            id: row.get("event_id")?,
            kind: row.get("type")?,
            at: row.get::<Micros>("occurred_at")?.0,
            correlation_id: row.get("correlation_id")?,
            payload: payload.0,
        })
    }
}

/// A user with what belongs to it. The parts are read one after the other.
#[derive(Debug, Clone)]
pub struct Details {
    /// The user.
    pub user: User,
    /// The roles that were granted, by name.
    pub roles: Vec<Granted>,
    /// The sessions that have not ended, the newest first.
    pub sessions: Vec<Session>,
    /// The history, the newest first.
    pub events: Vec<Event>,
}

/// The user with this id; `None` if there is no such user.
///
/// # Errors
/// When the store is unavailable, or reports an error.
pub async fn by_id(
    database: &Database,
    id: UserId,
    now: DateTime<Utc>,
) -> Result<Option<Details>, StoreError> {
    let key = id.as_uuid();
    let most = i64::try_from(MAX_ROWS).unwrap_or(i64::MAX);
    let found: Option<User> = database.fetch_latest(&USER, (key,)).await?;
    let Some(user) = found else {
        return Ok(None);
    };
    Ok(Some(Details {
        user,
        roles: database.fetch_all_latest(&ROLES, (key, most)).await?,
        sessions: database
            .fetch_all_latest(&SESSIONS, (key, Micros(now), most))
            .await?,
        events: database.fetch_all_latest(&EVENTS, (key, most)).await?,
    }))
}
