//! The status and the sessions of users, as administrators change them.
//!
//! A change that ends access raises the epoch of the user: access tokens from before are then no
//! longer accepted, on this instance at once and on the others within two seconds.

#[cfg(test)]
mod contract;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::auth_log;
use super::change::{self, Actor, Change, ChangeError};
use super::feed::{self, Feed, Revocation};
use super::history::{self, Event};
use super::roles;
use crate::domain::{EndReason, SessionId, TokenEpoch, UserId};
use crate::platform::database::{Database, End, Error, Micros, Statement, Transaction, UnitOfWork};

/// Whether a user may log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The user may.
    Active,
    /// The user may not, and has no session.
    Suspended,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 2] = [Self::Active, Self::Suspended];

    /// The text for stores and clients.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }

    /// The status with this text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// The status of a user changed.
#[derive(Serialize)]
struct StatusChanged<'a> {
    /// The new status.
    status: Status,
    /// Who changed it.
    actor: &'a Actor,
}

impl Event for StatusChanged<'_> {
    const TYPE: &'static str = "user.status_changed";
}

/// All sessions of a user were ended.
#[derive(Serialize)]
struct SessionsEnded<'a> {
    /// How many.
    sessions: u64,
    /// Who ended them.
    actor: &'a Actor,
}

impl Event for SessionsEnded<'_> {
    const TYPE: &'static str = "user.sessions_ended";
}

/// The outcome of a change of status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusOutcome {
    /// The status changed. With the new version of the user, and the new epoch if it was raised.
    Changed(i32, Option<TokenEpoch>),
    /// The user had the status already; nothing was written. With the version of the user.
    Unchanged(i32),
    /// There is no such user.
    NoSuchUser,
    /// No active administrator would be left; nothing was written.
    LastAdmin,
}

static SET_STATUS: Statement = Statement::new(
    "UPDATE users SET status = $2, token_epoch = token_epoch + $3, version = version + 1, \
     updated_at = $4 WHERE id = $1 AND status <> $2 RETURNING version, token_epoch",
);

static VERSION: Statement = Statement::new("SELECT version FROM users WHERE id = $1");

static PROJECT_STATUS: Statement = Statement::new(
    "UPDATE users_read SET status = $2, updated_at = $3, version = $4 WHERE id = $1",
);

static RAISE_EPOCH: Statement = Statement::new(
    "UPDATE users SET token_epoch = token_epoch + 1 WHERE id = $1 RETURNING token_epoch",
);

static END_SESSIONS: Statement = Statement::new(
    "UPDATE sessions SET ended_at = $2, end_reason = $3 WHERE user_id = $1 AND ended_at IS NULL",
);

static END_OTHER_SESSIONS: Statement = Statement::new(
    "UPDATE sessions SET ended_at = $2, end_reason = $3 \
     WHERE user_id = $1 AND id <> $4 AND ended_at IS NULL",
);

/// Makes the access tokens of a user invalid that were issued before. Returns the new epoch; `None` if
/// there is no such user. Locks the user.
///
/// # Errors
/// The driver's.
pub async fn raise_epoch(
    transaction: &mut Transaction,
    user: UserId,
) -> Result<Option<TokenEpoch>, Error> {
    let raised: Option<(i32,)> = transaction
        .fetch_optional(&RAISE_EPOCH, (user.as_uuid(),))
        .await?;
    Ok(raised.map(|(epoch,)| TokenEpoch::new(epoch)))
}

/// Ends every session of a user. Returns how many there were.
///
/// # Errors
/// The driver's.
pub async fn end_sessions(
    transaction: &mut Transaction,
    user: UserId,
    change: &Change,
    reason: EndReason,
) -> Result<u64, Error> {
    let row = (user.as_uuid(), Micros(change.at), reason.as_str());
    transaction.execute(&END_SESSIONS, row).await
}

/// The same, but for this one.
///
/// # Errors
/// The driver's.
pub async fn end_other_sessions(
    transaction: &mut Transaction,
    user: UserId,
    but: SessionId,
    change: &Change,
    reason: EndReason,
) -> Result<u64, Error> {
    let row = (
        user.as_uuid(),
        Micros(change.at),
        reason.as_str(),
        but.as_uuid(),
    );
    transaction.execute(&END_OTHER_SESSIONS, row).await
}

/// Appends the revocation of the access tokens of a user that have a lower epoch.
///
/// # Errors
/// The driver's.
pub async fn revoke_tokens(
    transaction: &mut Transaction,
    user: UserId,
    epoch: TokenEpoch,
    change: &Change,
    reason: &str,
) -> Result<(), Error> {
    let revocation = Revocation::User(user, epoch);
    feed::revoke(transaction, change.id(), revocation, reason, change.at).await
}

/// Changes of the status and the sessions of users.
#[derive(Clone)]
pub struct Accounts {
    database: Database,
    feed: Option<Arc<Feed>>,
}

impl Accounts {
    /// Changes the users of this database. The feed is that of the instance, if it is one.
    #[must_use]
    pub const fn new(database: Database, feed: Option<Arc<Feed>>) -> Self {
        Self { database, feed }
    }

    /// Suspends or activates a user. A suspension ends the user's sessions and access tokens; it is
    /// refused for the last active administrator. Two that suspend the last two at once do not both
    /// succeed.
    ///
    /// # Errors
    /// When the actor was revoked meanwhile, or the outcome is not certain: the change can be repeated.
    pub async fn set_status(
        &self,
        user: UserId,
        status: Status,
        change: Change,
    ) -> Result<StatusOutcome, ChangeError> {
        let work = SetStatus {
            user,
            status,
            change: change.clone(),
        };
        let outcome = change::write(&self.database, &change, work).await?;
        if let StatusOutcome::Changed(_, Some(epoch)) = outcome {
            self.publish(user, epoch);
        }
        Ok(outcome)
    }

    /// Ends all sessions and access tokens of a user. Returns whether there is such a user.
    ///
    /// # Errors
    /// When the actor was revoked meanwhile, or the outcome is not certain: the change can be repeated.
    pub async fn end_sessions(&self, user: UserId, change: Change) -> Result<bool, ChangeError> {
        let work = EndSessions {
            user,
            change: change.clone(),
        };
        let ended = change::write(&self.database, &change, work).await?;
        if let Some(epoch) = ended {
            self.publish(user, epoch);
        }
        Ok(ended.is_some())
    }

    /// This instance need not wait for the next read of the feed.
    fn publish(&self, user: UserId, epoch: TokenEpoch) {
        if let Some(feed) = &self.feed {
            feed.add(Revocation::User(user, epoch));
        }
    }
}

struct SetStatus {
    user: UserId,
    status: Status,
    change: Change,
}

impl UnitOfWork for SetStatus {
    type Outcome = StatusOutcome;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<StatusOutcome>, Error> {
        let Self {
            user,
            status,
            change,
        } = self;
        let (id, at) = (user.as_uuid(), Micros(change.at));
        let ends_access = *status == Status::Suspended;
        if ends_access {
            roles::lock_admins(transaction).await?;
        }
        let row = (id, status.as_str(), i32::from(ends_access), at);
        let changed: Option<(i32, i32)> = transaction.fetch_optional(&SET_STATUS, row).await?;
        let Some((version, epoch)) = changed else {
            let found: Option<(i32,)> = transaction.fetch_optional(&VERSION, (id,)).await?;
            let outcome = match found {
                Some((version,)) => StatusOutcome::Unchanged(version),
                None => StatusOutcome::NoSuchUser,
            };
            return Ok(End::Rollback(outcome));
        };
        if ends_access && roles::was_last_admin(transaction, *user).await? {
            return Ok(End::Rollback(StatusOutcome::LastAdmin));
        }
        let row = (id, status.as_str(), at, version);
        transaction.execute(&PROJECT_STATUS, row).await?;
        let epoch = TokenEpoch::new(epoch);
        if ends_access {
            end_sessions(transaction, *user, change, EndReason::Suspended).await?;
            revoke_tokens(transaction, *user, epoch, change, "suspended").await?;
        }
        let event = StatusChanged {
            status: *status,
            actor: &change.actor,
        };
        history::append(transaction, &change.of(*user), event).await?;
        if ends_access {
            auth_log::append_change(transaction, change, "suspended", &user.to_string()).await?;
        }
        let raised = ends_access.then_some(epoch);
        Ok(End::Commit(StatusOutcome::Changed(version, raised)))
    }
}

struct EndSessions {
    user: UserId,
    change: Change,
}

impl UnitOfWork for EndSessions {
    type Outcome = Option<TokenEpoch>;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Self::Outcome>, Error> {
        let Self { user, change } = self;
        let Some(epoch) = raise_epoch(transaction, *user).await? else {
            return Ok(End::Rollback(None));
        };
        let sessions = end_sessions(transaction, *user, change, EndReason::Revoked).await?;
        revoke_tokens(transaction, *user, epoch, change, "sessions_ended").await?;
        let event = SessionsEnded {
            sessions,
            actor: &change.actor,
        };
        history::append(transaction, &change.of(*user), event).await?;
        auth_log::append_change(transaction, change, "sessions_ended", &user.to_string()).await?;
        Ok(End::Commit(Some(epoch)))
    }
}
