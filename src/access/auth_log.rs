//! The log of logins, ended sessions, and changes of keys and roles: `auth_log`, kept for 90 days.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::change::Change;
use crate::domain::{SessionId, UserId};
use crate::platform::database::{Error, Micros, Statement, Transaction};

/// An entry. It has no address, password, token or key.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its id.
    pub id: Uuid,
    /// The user, if it is known.
    pub user: Option<UserId>,
    /// The session, if there is one.
    pub session: Option<SessionId>,
    /// Who acted: `user`, a service key, or `cli`.
    pub actor: &'static str,
    /// What was done: `login`, `refresh`, `logout`.
    pub action: &'static str,
    /// The outcome, in a word.
    pub outcome: &'static str,
    /// The network of the client, as in the log.
    pub network: Option<String>,
    /// The correlation id of the request.
    pub correlation_id: String,
    /// When, in whole microseconds.
    pub at: DateTime<Utc>,
}

static INSERT: Statement = Statement::new(
    "INSERT INTO auth_log \
     (id, user_id, session_id, actor, action, outcome, subject, network, correlation_id, at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
);

/// Appends an entry. It comes last in the lock order of a transaction.
///
/// # Errors
/// The driver's.
pub async fn append(transaction: &mut Transaction, entry: &Entry) -> Result<(), Error> {
    let row = (
        entry.id,
        entry.user.map(UserId::as_uuid),
        entry.session.map(SessionId::as_uuid),
        entry.actor,
        entry.action,
        entry.outcome,
        None::<&str>,
        entry.network.as_deref(),
        entry.correlation_id.as_str(),
        Micros(entry.at),
    );
    transaction.execute(&INSERT, row).await.map(drop)
}

/// Appends an entry about a user, a key or a role: `subject` is its id or name. It comes last in the lock
/// order of a transaction.
///
/// # Errors
/// The driver's.
pub async fn append_change(
    transaction: &mut Transaction,
    change: &Change,
    action: &'static str,
    subject: &str,
) -> Result<(), Error> {
    let row = (
        change.id(),
        subject.parse().ok().map(UserId::as_uuid),
        None::<Uuid>,
        change.actor.to_string(),
        action,
        "done",
        subject,
        change.network.as_deref(),
        change.correlation_id.as_str(),
        Micros(change.at),
    );
    transaction.execute(&INSERT, row).await.map(drop)
}
