//! The write of a refresh.

#[cfg(test)]
mod contract;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::rotation::KeyHash;
use crate::domain::{Generation, SessionId, StoreError};
use crate::platform::database::{Database, Micros, Statement};

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
