//! The rows of one-time tokens, which links in mails carry: `one_time_tokens`.
//!
//! A token is used once, by state: its row says when. A user has one of each use that is neither used
//! nor void; a new one voids the one before.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::domain::{StoreError, TokenEpoch, UserId};
use crate::platform::database::{Database, Error, FromRow, Micros, Row, Statement, Transaction};
use crate::tokens::one_time::{Grant, Presented, Use};
use crate::tokens::secrets::TokenSecrets;

/// How long a token is valid.
#[must_use]
pub const fn life(purpose: Use) -> TimeDelta {
    match purpose {
        Use::Verify => TimeDelta::hours(24),
        Use::Reset => TimeDelta::minutes(30),
    }
}

/// A token as it is stored.
#[derive(Debug, Clone)]
pub struct Link {
    /// What it stands for.
    pub grant: Grant,
    /// When it was used.
    pub used_at: Option<DateTime<Utc>>,
    /// Whether a newer one, or a change of the password, has made it void.
    pub is_void: bool,
}

impl Link {
    /// Whether it can be used, if the user's epoch is this one.
    #[must_use]
    pub fn is_live(&self, epoch: TokenEpoch, now: DateTime<Utc>) -> bool {
        self.used_at.is_none()
            && !self.is_void
            && self.grant.epoch == epoch
            && now < self.grant.expires_at
    }
}

impl FromRow for Link {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        let purpose: String = row.get("purpose")?;
        let purpose = Use::parse(&purpose)
            .ok_or_else(|| Error::Decode(format!("use of a token {purpose}").into()))?;
        let used_at: Option<Micros> = row.get("used_at")?;
        let voided_at: Option<Micros> = row.get("voided_at")?;
        Ok(Self {
            grant: Grant {
                id: row.get("id")?,
                user: UserId::new(row.get("user_id")?),
                purpose,
                address: row.get("email_canonical")?,
                epoch: TokenEpoch::new(row.get("epoch")?),
                expires_at: row.get::<Micros>("expires_at")?.0,
            },
            used_at: used_at.map(|at| at.0),
            is_void: voided_at.is_some(),
        })
    }
}

static BY_ID: Statement = Statement::new(
    "SELECT id, user_id, purpose, email_canonical, epoch, expires_at, used_at, voided_at \
     FROM one_time_tokens WHERE id = $1",
);

static VOID: Statement = Statement::new(
    "UPDATE one_time_tokens SET voided_at = $3 WHERE user_id = $1 AND purpose = $2 \
     AND used_at IS NULL AND voided_at IS NULL",
);

static VOID_ALL: Statement = Statement::new(
    "UPDATE one_time_tokens SET voided_at = $2 WHERE user_id = $1 AND used_at IS NULL \
     AND voided_at IS NULL",
);

static INSERT: Statement = Statement::new(
    "INSERT INTO one_time_tokens (id, user_id, purpose, email_canonical, epoch, created_at, expires_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)",
);

static USE: Statement = Statement::new(
    "UPDATE one_time_tokens SET used_at = $2 WHERE id = $1 AND used_at IS NULL AND voided_at IS NULL",
);

/// How long a token is kept after it has expired: until then it is reported as expired or used.
const KEPT: TimeDelta = TimeDelta::days(30);

static PURGE: Statement = Statement::new(
    "DELETE FROM one_time_tokens WHERE id IN (SELECT id FROM one_time_tokens \
     WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2) RETURNING id",
);

/// Removes tokens that expired long ago, `most` at once. Returns how many there were.
///
/// # Errors
/// When the outcome is not certain.
pub async fn purge(
    database: &Database,
    now: DateTime<Utc>,
    most: i32,
) -> Result<usize, StoreError> {
    let rows: Vec<(Uuid,)> = database
        .write_one(&PURGE, (Micros(now - KEPT), most))
        .await?;
    Ok(rows.len())
}

/// Adds a token, and voids the one before.
///
/// # Errors
/// The driver's.
pub async fn add(
    transaction: &mut Transaction,
    grant: &Grant,
    at: DateTime<Utc>,
) -> Result<(), Error> {
    let (user, purpose) = (grant.user.as_uuid(), grant.purpose.as_str());
    transaction
        .execute(&VOID, (user, purpose, Micros(at)))
        .await?;
    let row = (
        grant.id,
        user,
        purpose,
        grant.address.as_str(),
        grant.epoch.get(),
        Micros(at),
        Micros(grant.expires_at),
    );
    transaction.execute(&INSERT, row).await.map(drop)
}

/// Marks a token as used. Returns whether it did: not if it was used before, or is void.
///
/// # Errors
/// The driver's.
pub async fn use_up(
    transaction: &mut Transaction,
    id: Uuid,
    at: DateTime<Utc>,
) -> Result<bool, Error> {
    Ok(transaction.execute(&USE, (id, Micros(at))).await? > 0)
}

/// Voids all tokens of a user that were not used.
///
/// # Errors
/// The driver's.
pub async fn void_all(
    transaction: &mut Transaction,
    user: UserId,
    at: DateTime<Utc>,
) -> Result<(), Error> {
    transaction
        .execute(&VOID_ALL, (user.as_uuid(), Micros(at)))
        .await
        .map(drop)
}

/// The token that a client sent, if it is one of this use, from the primary.
///
/// # Errors
/// When the store is unavailable, or reports an error.
pub async fn find(
    database: &Database,
    text: &str,
    purpose: Use,
    secrets: &TokenSecrets,
) -> Result<Option<Link>, StoreError> {
    let Some(presented) = Presented::parse(text) else {
        return Ok(None);
    };
    let found: Option<Link> = database.fetch_latest(&BY_ID, (presented.id,)).await?;
    Ok(found
        .filter(|link| link.grant.purpose == purpose && presented.is_of(&link.grant, secrets)))
}

/// The token with this id, from the primary.
///
/// # Errors
/// When the store is unavailable, or reports an error.
pub async fn by_id(database: &Database, id: Uuid) -> Result<Option<Link>, StoreError> {
    database.fetch_latest(&BY_ID, (id,)).await
}
