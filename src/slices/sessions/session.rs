//! A session as it is stored, with what its tokens say about its user.

use std::fmt;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::access::roles;
use crate::domain::rotation::{KeyHash, Stored};
use crate::domain::{EndReason, Generation, SessionId, StoreError, TokenEpoch, UserId};
use crate::platform::database::{Database, Error, FromRow, Micros, Row, Statement, Transaction};
use crate::tokens::refresh::Nonce;

/// A session.
#[derive(Clone)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Its user.
    pub user: UserId,
    /// What its refresh tokens are derived from, with a secret.
    pub nonce: Nonce,
    /// What decides about its refresh tokens.
    pub stored: Stored,
    /// When the user logged in.
    pub created_at: DateTime<Utc>,
    /// When the user last sent the password.
    pub auth_time: DateTime<Utc>,
    /// How the user proved who they are, by the names of RFC 8176, separated by spaces.
    pub amr: String,
    /// The epoch of the user.
    pub epoch: TokenEpoch,
    /// The roles of the user, in order.
    pub roles: Vec<String>,
}

// Its refresh tokens are derived from the nonce.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.id).finish()
    }
}

/// A query of sessions: `sessions!("JOIN users ON users.id = user_id WHERE sessions.id = $1")`. Defines
/// the columns of a [`Session`] in one place.
macro_rules! sessions {
    ($rest:literal) => {
        crate::platform::database::Statement::new(concat!(
            "SELECT sessions.id, user_id, nonce, generation, rotated_at, rotation_key, idle_until, \
             expires_at, end_reason, sessions.created_at, auth_time, amr, users.status, \
             users.token_epoch, (SELECT string_agg(role, ' ') FROM user_roles \
             WHERE user_roles.user_id = sessions.user_id) AS roles FROM sessions ",
            $rest
        ))
    };
}

pub(super) use sessions;

static BY_ID: Statement = sessions!("JOIN users ON users.id = user_id WHERE sessions.id = $1");

impl FromRow for Session {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        let time = |column: &str| row.get::<Micros>(column).map(|time| time.0);
        let generation: i32 = row.get("generation")?;
        let rotation_key: Option<Vec<u8>> = row.get("rotation_key")?;
        let end_reason: Option<String> = row.get("end_reason")?;
        let status: String = row.get("status")?;
        let roles: Option<String> = row.get("roles")?;
        let roles = roles::names(roles.as_deref());
        let nonce: Vec<u8> = row.get("nonce")?;
        Ok(Self {
            id: SessionId::new(row.get("id")?),
            user: UserId::new(row.get("user_id")?),
            nonce: exact(&nonce, "nonce")?,
            stored: Stored {
                generation: Generation::new(
                    u32::try_from(generation).map_err(|error| Error::Decode(error.into()))?,
                ),
                rotated_at: time("rotated_at")?,
                rotation_key: rotation_key
                    .map(|key| exact::<{ size_of::<KeyHash>() }>(&key, "rotation_key"))
                    .transpose()?,
                idle_until: time("idle_until")?,
                expires_at: time("expires_at")?,
                // A reason of a newer release has ended it all the same.
                ended: end_reason
                    .map(|reason| EndReason::parse(&reason).unwrap_or(EndReason::Revoked)),
                is_suspended: status != "active",
            },
            created_at: time("created_at")?,
            auth_time: time("auth_time")?,
            amr: row.get("amr")?,
            epoch: TokenEpoch::new(row.get("token_epoch")?),
            roles,
        })
    }
}

fn exact<const N: usize>(bytes: &[u8], column: &str) -> Result<[u8; N], Error> {
    bytes
        .try_into()
        .map_err(|_| Error::Decode(format!("{column} has another length").into()))
}

/// The session with this id, from the primary.
///
/// # Errors
/// When the store is unavailable, or reports an error.
pub async fn by_id(database: &Database, id: Uuid) -> Result<Option<Session>, StoreError> {
    database.fetch_latest(&BY_ID, (id,)).await
}

/// The session with this id, as a transaction sees it.
///
/// # Errors
/// The driver's.
pub async fn within(
    transaction: &mut Transaction,
    id: SessionId,
) -> Result<Option<Session>, Error> {
    transaction.fetch_optional(&BY_ID, (id.as_uuid(),)).await
}
