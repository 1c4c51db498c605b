//! The writes of a refresh.

#[cfg(test)]
mod contract;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::access::feed::{self, Revocation};
use crate::domain::rotation::KeyHash;
use crate::domain::{EndReason, Generation, SessionId, StoreError};
use crate::platform::database::{Database, End, Error, Micros, Statement, Transaction, UnitOfWork};
use crate::slices::sessions::auth_log::{self, Entry};
use crate::slices::sessions::end::END;

/// The condition makes two that refresh at once make one successor; and a session that ends, or a
/// user who is suspended meanwhile, gets none.
static ROTATE: Statement = Statement::new(
    "UPDATE sessions SET generation = $2, rotated_at = $3, rotation_key = $4, last_used_at = $3, \
     idle_until = $5, network = $6 WHERE id = $1 AND generation = $7 AND ended_at IS NULL \
     AND EXISTS (SELECT 1 FROM users u WHERE u.id = sessions.user_id AND u.status = 'active') \
     RETURNING id",
);

/// The change of a session by a refresh.
pub struct Rotation {
    /// The session.
    pub session: SessionId,
    /// The generation that the decision was made on.
    pub from: Generation,
    /// The next one.
    pub to: Generation,
    /// When.
    pub at: DateTime<Utc>,
    /// The key of the refresh, if it has one.
    pub key: Option<KeyHash>,
    /// When the session then ends if it is not used.
    pub idle_until: DateTime<Utc>,
    /// The network of the client, as in the log.
    pub network: Option<String>,
}

/// Makes the next generation the current one. Returns whether it did: not if the session has another
/// generation by now, has ended, or its user is suspended; nothing was then written.
///
/// # Errors
/// When the outcome is not certain: the refresh can be repeated.
pub async fn rotate(database: &Database, rotation: Rotation) -> Result<bool, StoreError> {
    let number = |generation: Generation| i32::try_from(generation.get()).unwrap_or(i32::MAX);
    let parameters = (
        rotation.session.as_uuid(),
        number(rotation.to),
        Micros(rotation.at),
        rotation.key.map(Vec::from),
        Micros(rotation.idle_until),
        rotation.network,
        number(rotation.from),
    );
    let rows: Vec<(Uuid,)> = database.write_one(&ROTATE, parameters).await?;
    Ok(!rows.is_empty())
}

/// Ends a session whose refresh token was reused, with the revocation of its access tokens.
///
/// # Errors
/// When the outcome is not certain.
pub async fn end_reused(
    database: &Database,
    entry: Entry,
    token_life: std::time::Duration,
) -> Result<(), StoreError> {
    database.write(EndReused { entry, token_life }).await
}

struct EndReused {
    entry: Entry,
    token_life: std::time::Duration,
}

impl UnitOfWork for EndReused {
    type Outcome = ();

    async fn run(&self, transaction: &mut Transaction) -> Result<End<()>, Error> {
        let Some(session) = self.entry.session else {
            return Ok(End::Rollback(()));
        };
        let reason = EndReason::Reused.as_str();
        let at = Micros(self.entry.at);
        let changed = transaction
            .execute(&END, (session.as_uuid(), at, reason))
            .await?;
        if changed == 0 {
            return Ok(End::Rollback(()));
        }
        feed::revoke(
            transaction,
            self.entry.id,
            Revocation::Session(session),
            reason,
            self.entry.at,
            self.token_life,
        )
        .await?;
        auth_log::append(transaction, &self.entry).await?;
        Ok(End::Commit(()))
    }
}
