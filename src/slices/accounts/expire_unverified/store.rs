//! The users that are due, and their removal.

#[cfg(test)]
mod contract;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::access::feed::{self, Revocation};
use crate::access::history::{self, Circumstances, Event};
use crate::domain::{StoreError, UserId};
use crate::idempotency::record;
use crate::mail::{links, queue};
use crate::platform::clock::{Randomness, uuid_v7};
use crate::platform::database::{Database, End, Error, Micros, Statement, Transaction, UnitOfWork};
use crate::tokens::one_time::Use;

/// Users looked up at once.
const BATCH: i32 = 100;

/// Due is who was asked by the signup itself, and has no role. Who signed up while no verification was needed,
/// was imported or made by an administrator is not: another person could ask for a mail to them, and so begin
/// their removal. All links of one kind live as long, and of these times the end has an index.
static DUE: Statement = Statement::new(
    "SELECT u.id FROM users u WHERE u.email_verified_at IS NULL AND u.id IN \
     (SELECT t.user_id FROM one_time_tokens t WHERE t.expires_at <= $1 AND t.purpose = 'verify' \
     AND t.created_at = u.created_at) \
     AND NOT EXISTS (SELECT 1 FROM user_roles r WHERE r.user_id = u.id) ORDER BY u.id LIMIT $2",
);

/// One that is verified meanwhile stays.
static REMOVE: Statement =
    Statement::new("DELETE FROM users WHERE id = $1 AND email_verified_at IS NULL");

static REMOVE_READ: Statement = Statement::new("DELETE FROM users_read WHERE id = $1");

/// An account was removed, as its address was not verified in time.
#[derive(Serialize)]
struct Expired {}

impl Event for Expired {
    const TYPE: &'static str = "user.expired";
}

/// Some of the users that were asked to verify their address at this time or before, and have not.
///
/// # Errors
/// When the store is unavailable, or reports an error.
pub async fn due(database: &Database, asked_by: DateTime<Utc>) -> Result<Vec<UserId>, StoreError> {
    let expired_by = asked_by + links::life(Use::Verify);
    let found: Vec<(Uuid,)> = database
        .fetch_all_latest(&DUE, (Micros(expired_by), BATCH))
        .await?;
    Ok(found.into_iter().map(|(id,)| UserId::new(id)).collect())
}

/// Removes users, with what belongs to them and what their history says; their access tokens are no longer accepted.
pub struct Expiry {
    /// The users, in the order of their ids: two instances do not wait for each other in a circle.
    pub users: Vec<UserId>,
    /// When, in whole microseconds.
    pub at: DateTime<Utc>,
    /// The source of ids.
    pub randomness: Arc<dyn Randomness>,
}

impl UnitOfWork for Expiry {
    /// Those that were removed.
    type Outcome = Vec<UserId>;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Vec<UserId>>, Error> {
        let mut removed = Vec::new();
        for user in &self.users {
            if transaction.execute(&REMOVE, (user.as_uuid(),)).await? > 0 {
                removed.push(*user);
            }
        }
        // After the users, other than in the order of locks: who is removed is not known before. If a user
        // erases the account at the same moment, the database refuses one of the two, which is tried again.
        for user in &removed {
            record::redact(transaction, *user).await?;
        }
        for user in &removed {
            transaction.execute(&REMOVE_READ, (user.as_uuid(),)).await?;
        }
        let id = || uuid_v7(self.at, self.randomness.as_ref());
        for user in &removed {
            feed::revoke(transaction, id(), Revocation::Erased(*user), "", self.at).await?;
        }
        for user in &removed {
            history::redact(transaction, *user).await?;
            queue::remove_all(transaction, *user).await?;
            let event_id = id();
            let circumstances = Circumstances {
                event_id,
                user_id: *user,
                at: self.at,
                // No request has caused it.
                correlation_id: event_id.to_string(),
            };
            history::append(transaction, &circumstances, Expired {}).await?;
        }
        Ok(if removed.is_empty() {
            End::Rollback(removed)
        } else {
            End::Commit(removed)
        })
    }
}
