//! What is stored about a user.

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::access::auth_log::{self, Entry};
use crate::access::roles;
use crate::domain::{StoreError, UserId};
use crate::platform::clock::timestamp;
use crate::platform::database::{
    Database, End, Error, FromRow, Micros, Row, Statement, Transaction, UnitOfWork,
};

/// The maximum of each list: the newest are in it.
pub const MOST: usize = 10_000;

/// An account, with what only its user sees.
#[derive(Serialize)]
pub struct Account {
    id: String,
    name: String,
    email: String,
    display_name: String,
    locale: Option<String>,
    created_at: String,
    updated_at: Option<String>,
    email_verified_at: Option<String>,
    password_changed_at: Option<String>,
    status: String,
    roles: Vec<String>,
}

/// A session, ended or not.
#[derive(Serialize)]
pub struct Session {
    id: String,
    label: Option<String>,
    network: Option<String>,
    created_at: String,
    last_used_at: String,
    ended_at: Option<String>,
    end_reason: Option<String>,
}

/// An event of the history.
#[derive(Serialize)]
pub struct Event {
    #[serde(rename = "type")]
    kind: String,
    occurred_at: String,
    payload: Box<RawValue>,
}

/// A line of the log of logins, sessions and changes.
#[derive(Serialize)]
pub struct Logged {
    at: String,
    action: String,
    outcome: String,
    network: Option<String>,
}

/// A mail.
#[derive(Serialize)]
pub struct Mail {
    kind: String,
    created_at: String,
    sent_at: Option<String>,
}

/// All of it. No password hash, token or key is in it.
#[derive(Serialize)]
pub struct Export {
    /// The account.
    pub account: Account,
    /// Sessions, the newest first; those that ended are kept for some days.
    pub sessions: Vec<Session>,
    /// The history, the newest first.
    pub events: Vec<Event>,
    /// The log of the last 90 days, the newest first.
    pub log: Vec<Logged>,
    /// The mails of the last 90 days, the newest first.
    pub mails: Vec<Mail>,
}

static ACCOUNT: Statement = Statement::new(
    "SELECT r.id, r.name, r.email, r.display_name, u.locale, r.created_at, r.updated_at, r.status, \
     u.email_verified_at, u.password_changed_at, \
     (SELECT string_agg(g.role, ' ') FROM user_roles g WHERE g.user_id = r.id) AS roles \
     FROM users_read r JOIN users u ON u.id = r.id WHERE r.id = $1",
);

static SESSIONS: Statement = Statement::new(
    "SELECT id, label, network, created_at, last_used_at, ended_at, end_reason FROM sessions \
     WHERE user_id = $1 ORDER BY created_at DESC LIMIT $2",
);

static EVENTS: Statement = Statement::new(
    "SELECT type, occurred_at, CAST(payload AS text) AS payload FROM user_events \
     WHERE user_id = $1 ORDER BY event_id DESC LIMIT $2",
);

static LOG: Statement = Statement::new(
    "SELECT at, action, outcome, network FROM auth_log WHERE user_id = $1 ORDER BY at DESC LIMIT $2",
);

static MAILS: Statement = Statement::new(
    "SELECT kind, created_at, sent_at FROM mail_queue WHERE user_id = $1 \
     ORDER BY created_at DESC LIMIT $2",
);

fn time(row: Row<'_>, column: &str) -> Result<String, Error> {
    Ok(timestamp(row.get::<Micros>(column)?.0))
}

fn optional_time(row: Row<'_>, column: &str) -> Result<Option<String>, Error> {
    let time: Option<Micros> = row.get(column)?;
    Ok(time.map(|time| timestamp(time.0)))
}

impl FromRow for Account {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        let roles: Option<String> = row.get("roles")?;
        Ok(Self {
            id: UserId::new(row.get("id")?).to_string(),
            name: row.get("name")?,
            email: row.get("email")?,
            display_name: row.get("display_name")?,
            locale: row.get("locale")?,
            created_at: time(row, "created_at")?,
            updated_at: optional_time(row, "updated_at")?,
            email_verified_at: optional_time(row, "email_verified_at")?,
            password_changed_at: optional_time(row, "password_changed_at")?,
            status: row.get("status")?,
            roles: roles::names(roles.as_deref()),
        })
    }
}

impl FromRow for Session {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        let id: Uuid = row.get("id")?;
        Ok(Self {
            id: id.to_string(),
            label: row.get("label")?,
            network: row.get("network")?,
            created_at: time(row, "created_at")?,
            last_used_at: time(row, "last_used_at")?,
            ended_at: optional_time(row, "ended_at")?,
            end_reason: row.get("end_reason")?,
        })
    }
}

impl FromRow for Event {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        let payload: String = row.get("payload")?;
        Ok(Self {
            kind: row.get("type")?,
            occurred_at: time(row, "occurred_at")?,
            payload: RawValue::from_string(payload).map_err(|error| Error::Decode(error.into()))?,
        })
    }
}

impl FromRow for Logged {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        Ok(Self {
            at: time(row, "at")?,
            action: row.get("action")?,
            outcome: row.get("outcome")?,
            network: row.get("network")?,
        })
    }
}

impl FromRow for Mail {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        Ok(Self {
            kind: row.get("kind")?,
            created_at: time(row, "created_at")?,
            sent_at: optional_time(row, "sent_at")?,
        })
    }
}

/// Everything about a user, from the primary; `None` if there is none.
///
/// # Errors
/// When the store is unavailable, or reports an error.
pub async fn export(database: &Database, user: UserId) -> Result<Option<Export>, StoreError> {
    let most = i32::try_from(MOST).unwrap_or(i32::MAX);
    let of = (user.as_uuid(), most);
    let account = database.fetch_latest(&ACCOUNT, (user.as_uuid(),)).await?;
    let Some(account) = account else {
        return Ok(None);
    };
    Ok(Some(Export {
        account,
        sessions: database.fetch_all_latest(&SESSIONS, of).await?,
        events: database.fetch_all_latest(&EVENTS, of).await?,
        log: database.fetch_all_latest(&LOG, of).await?,
        mails: database.fetch_all_latest(&MAILS, of).await?,
    }))
}

/// The line in the log that says that a user got all this.
pub struct LogExport(pub Entry);

impl UnitOfWork for LogExport {
    type Outcome = ();

    async fn run(&self, transaction: &mut Transaction) -> Result<End<()>, Error> {
        auth_log::append(transaction, &self.0).await?;
        Ok(End::Commit(()))
    }
}
