//! Changes of access: who makes them, when, and in which request.
//!
//! A request is admitted by what the [`feed`](super::feed) knows, which may be two seconds old. A change asks
//! once more in its transaction, so that an administrator who was suspended or demoted, or a key that was
//! revoked, changes nothing from that moment on.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::history::Circumstances;
use super::{UserCaller, live};
use crate::domain::{StoreError, UserId};
use crate::platform::clock::{Randomness, uuid_v7};
use crate::platform::database::{Database, End, Error, Micros, Statement, Transaction, UnitOfWork};

/// Who changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A user.
    User(UserId),
    /// A machine, by the id of its service key.
    Service(String),
    /// An operator, on the command line.
    Cli,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => id.fmt(f),
            Self::Service(key) => f.write_str(key),
            Self::Cli => f.write_str("cli"),
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The circumstances of a change.
#[derive(Clone)]
pub struct Change {
    /// Who makes it.
    pub actor: Actor,
    /// The session of a user who makes it.
    pub caller: Option<UserCaller>,
    /// When, in whole microseconds.
    pub at: DateTime<Utc>,
    /// The correlation id of the request.
    pub correlation_id: String,
    /// The network of the client, as in the log.
    pub network: Option<String>,
    /// The source of ids.
    pub randomness: Arc<dyn Randomness>,
}

impl Change {
    /// A new id, for an event or a revocation.
    #[must_use]
    pub fn id(&self) -> Uuid {
        uuid_v7(self.at, self.randomness.as_ref())
    }

    /// Whether the credential of the actor is still good, as this transaction sees it. It locks the
    /// actor first: what takes the credential away comes before this change, or waits for it. Two who
    /// change each other at once may wait for each other; the database then refuses one, which is tried
    /// again.
    ///
    /// # Errors
    /// The driver's.
    pub async fn is_authorized(&self, transaction: &mut Transaction) -> Result<bool, Error> {
        match (&self.actor, &self.caller) {
            (Actor::Cli, _) => Ok(true),
            (Actor::User(_), Some(caller)) => live::check_alone(transaction, caller, self.at).await,
            (Actor::User(_), None) => Ok(false),
            (Actor::Service(key), _) => {
                transaction
                    .lock(&LOCK_KEY_POSTGRES, (key.as_str(),))
                    .await?;
                let row = (key.as_str(), Micros(self.at));
                let found: Option<(String,)> = transaction.fetch_optional(&LIVE_KEY, row).await?;
                Ok(found.is_some())
            }
        }
    }

    /// The circumstances of an event of this user.
    #[must_use]
    pub fn of(&self, user_id: UserId) -> Circumstances {
        Circumstances {
            event_id: self.id(),
            user_id,
            at: self.at,
            correlation_id: self.correlation_id.clone(),
        }
    }
}

static LOCK_KEY_POSTGRES: Statement =
    Statement::new("SELECT id FROM service_keys WHERE id = $1 FOR NO KEY UPDATE");

static LIVE_KEY: Statement = Statement::new(
    "SELECT id FROM service_keys WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2",
);

/// A change was not made, or it is not known whether it was.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The credential of the actor was revoked meanwhile; nothing was written.
    #[error("the credential was revoked")]
    Revoked,
    /// The store failed: the change may have been made, and can be repeated.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes what an actor changes.
///
/// # Errors
/// See [`ChangeError`].
pub async fn write<W: UnitOfWork>(
    database: &Database,
    change: &Change,
    work: W,
) -> Result<W::Outcome, ChangeError> {
    let change = change.clone();
    let outcome = database.write(Authorized { change, work }).await?;
    outcome.ok_or(ChangeError::Revoked)
}

/// Work of an actor whose credential must still be good.
struct Authorized<W> {
    change: Change,
    work: W,
}

impl<W: UnitOfWork> UnitOfWork for Authorized<W> {
    /// `None` if it is not.
    type Outcome = Option<W::Outcome>;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Self::Outcome>, Error> {
        if !self.change.is_authorized(transaction).await? {
            return Ok(End::Rollback(None));
        }
        Ok(match self.work.run(transaction).await? {
            End::Commit(outcome) => End::Commit(Some(outcome)),
            End::Rollback(outcome) => End::Rollback(Some(outcome)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_written_as_its_id() {
        let user = UserId::new(Uuid::from_u128(7));
        for (actor, text) in [
            (Actor::User(user), "00000000-0000-0000-0000-000000000007"),
            (Actor::Service("0h2k4n6q8s".to_owned()), "0h2k4n6q8s"),
            (Actor::Cli, "cli"),
        ] {
            assert_eq!(actor.to_string(), text);
            let json = serde_json::to_string(&actor).expect("a string");
            assert_eq!(json, format!("\"{text}\""));
        }
    }
}
