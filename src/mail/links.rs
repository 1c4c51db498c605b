//! The rows of one-time tokens, which links in mails carry: `one_time_tokens`.
//!
//! A token is used once, by state: its row says when. A user has one of each use that is neither used
//! nor void; a new one voids the one before. Two uses are exceptions, as others than the owner may cause
//! newer ones. Those that recover an account stay beside each other. So do those that undo a change of the
//! address, and while one is valid its address is not given to another account: who has taken an account
//! over must not take the way back away.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::domain::{Email, SessionId, StoreError, TokenEpoch, UserId};
use crate::platform::database::{Database, Error, FromRow, Micros, Row, Statement, Transaction};
use crate::tokens::one_time::{Grant, Presented, Use};
use crate::tokens::secrets::TokenSecrets;

/// How long a token is valid.
#[must_use]
pub const fn in_words(purpose: Use) -> &'static str {
    match purpose {
        Use::Verify | Use::Change | Use::Recover => "24 hours",
        Use::Reset => "30 minutes",
        Use::SetPassword => "72 hours",
        Use::Undo => "7 days",
    }
}

/// The same, as a time. A day is the most that NIST SP 800-63B-4, section 4.2.1.2, has for a recovery code by mail.
#[must_use]
pub const fn life(purpose: Use) -> TimeDelta {
    match purpose {
        Use::Verify | Use::Change | Use::Recover => TimeDelta::hours(24),
        Use::Reset => TimeDelta::minutes(30),
        Use::SetPassword => TimeDelta::hours(72),
        Use::Undo => TimeDelta::days(7),
    }
}

/// The canonical form of the address that the mail with this link goes to.
#[must_use]
pub fn destination(grant: &Grant) -> String {
    let new = grant.new_email.as_deref();
    let new = new.filter(|_| grant.purpose == Use::Change);
    let new = new.and_then(|new| Email::parse(new).ok());
    new.map_or_else(|| grant.address.clone(), |new| new.canonical().to_owned())
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
    /// The session that asked for a change of address.
    pub session: Option<SessionId>,
}

impl Link {
    /// Whether it can be used, if the user's epoch is this one.
    #[must_use]
    pub fn is_live(&self, epoch: TokenEpoch, now: DateTime<Utc>) -> bool {
        self.used_at.is_none()
            && !self.is_void
            // One who has taken an account over must not void the way back.
            && (self.grant.epoch == epoch || self.grant.purpose == Use::Undo)
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
        let session: Option<Uuid> = row.get("session_id")?;
        Ok(Self {
            grant: Grant {
                id: row.get("id")?,
                user: UserId::new(row.get("user_id")?),
                purpose,
                address: row.get("email_canonical")?,
                new_email: row.get("new_email")?,
                epoch: TokenEpoch::new(row.get("epoch")?),
                expires_at: row.get::<Micros>("expires_at")?.0,
            },
            used_at: used_at.map(|at| at.0),
            is_void: voided_at.is_some(),
            session: session.map(SessionId::new),
        })
    }
}

static BY_ID: Statement = Statement::new(
    "SELECT id, user_id, purpose, email_canonical, new_email, epoch, expires_at, used_at, voided_at, \
     session_id FROM one_time_tokens WHERE id = $1",
);

static VOID: Statement = Statement::new(
    "UPDATE one_time_tokens SET voided_at = $3 WHERE user_id = $1 AND purpose = $2 \
     AND used_at IS NULL AND voided_at IS NULL",
);

static VOID_ALL: Statement = Statement::new(
    "UPDATE one_time_tokens SET voided_at = $2 WHERE user_id = $1 AND used_at IS NULL \
     AND voided_at IS NULL AND purpose <> 'undo'",
);

static VOID_UNDO: Statement = Statement::new(
    "UPDATE one_time_tokens SET voided_at = $3 WHERE user_id = $1 AND purpose = 'undo' \
     AND used_at IS NULL AND voided_at IS NULL \
     AND (email_canonical = $2 OR created_at > (SELECT t.created_at FROM one_time_tokens t WHERE t.id = $4))",
);

static VOID_OWN_UNDO: Statement = Statement::new(
    "UPDATE one_time_tokens SET voided_at = $2 WHERE user_id = $1 AND purpose = 'undo' \
     AND used_at IS NULL AND voided_at IS NULL \
     AND email_canonical = (SELECT u.email_canonical FROM users u WHERE u.id = $1)",
);

static INSERT: Statement = Statement::new(
    "INSERT INTO one_time_tokens \
     (id, user_id, purpose, email_canonical, new_email, epoch, created_at, expires_at, session_id) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
);

static RECENT: Statement = Statement::new(
    "SELECT count(*) AS tokens FROM one_time_tokens WHERE user_id = $1 AND purpose = $2 AND created_at > $3",
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

/// How many tokens of a use were made for a user since a time.
///
/// # Errors
/// The driver's.
pub async fn made_since(
    transaction: &mut Transaction,
    user: UserId,
    purpose: Use,
    since: DateTime<Utc>,
) -> Result<i64, Error> {
    let row = (user.as_uuid(), purpose.as_str(), Micros(since));
    let made: Option<(i64,)> = transaction.fetch_optional(&RECENT, row).await?;
    Ok(made.map_or(0, |(tokens,)| tokens))
}

/// Adds a token, and voids the one before, if its use has one at a time.
///
/// # Errors
/// The driver's.
pub async fn add(
    transaction: &mut Transaction,
    grant: &Grant,
    at: DateTime<Utc>,
) -> Result<(), Error> {
    add_of(transaction, grant, None, at).await
}

/// Adds a token that this session has asked for.
///
/// # Errors
/// The driver's.
pub async fn add_of(
    transaction: &mut Transaction,
    grant: &Grant,
    session: Option<SessionId>,
    at: DateTime<Utc>,
) -> Result<(), Error> {
    let (user, purpose) = (grant.user.as_uuid(), grant.purpose.as_str());
    let voids = match grant.purpose {
        Use::Undo => None,
        Use::Recover => Some(Use::Reset),
        same => Some(same),
    };
    if let Some(before) = voids {
        transaction
            .execute(&VOID, (user, before.as_str(), Micros(at)))
            .await?;
    }
    let row = (
        grant.id,
        user,
        purpose,
        grant.address.as_str(),
        grant.new_email.as_deref(),
        grant.epoch.get(),
        Micros(at),
        Micros(grant.expires_at),
        session.map(SessionId::as_uuid),
    );
    transaction.execute(&INSERT, row).await.map(drop)
}

static RESERVED: Statement = Statement::new(
    "SELECT id FROM one_time_tokens WHERE email_canonical = $1 AND purpose = 'undo' AND used_at IS NULL \
     AND voided_at IS NULL AND expires_at > $2 LIMIT 1",
);

/// Whether an account can be moved back to this address, so that no other can have it.
///
/// # Errors
/// When the store is unavailable, or reports an error.
pub async fn is_reserved(
    database: &Database,
    address: &str,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let parameters = (address.to_owned(), Micros(now));
    let found: Option<(Uuid,)> = database.fetch_latest(&RESERVED, parameters).await?;
    Ok(found.is_some())
}

static RECOVERS: Statement = Statement::new(
    "SELECT id FROM one_time_tokens WHERE user_id = $1 AND purpose = 'recover' AND used_at IS NULL \
     AND voided_at IS NULL AND epoch = $2 AND expires_at > $3 LIMIT 1",
);

/// Whether a user has a link that recovers the account now.
///
/// # Errors
/// The driver's.
pub async fn has_recovery(
    transaction: &mut Transaction,
    user: UserId,
    epoch: TokenEpoch,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let parameters = (user.as_uuid(), epoch.get(), Micros(now));
    let found: Option<(Uuid,)> = transaction.fetch_optional(&RECOVERS, parameters).await?;
    Ok(found.is_some())
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

/// Voids all tokens of a user that were not used, but for those that restore another address than the
/// account has.
///
/// # Errors
/// The driver's.
pub async fn void_all(
    transaction: &mut Transaction,
    user: UserId,
    at: DateTime<Utc>,
) -> Result<(), Error> {
    let row = (user.as_uuid(), Micros(at));
    transaction.execute(&VOID_ALL, row).await?;
    transaction.execute(&VOID_OWN_UNDO, row).await.map(drop)
}

/// Voids what would undo this restored address: the tokens for it, and those that were made later. So the first
/// of several owners has the last word.
///
/// # Errors
/// The driver's.
pub async fn void_later_undos(
    transaction: &mut Transaction,
    used: &Grant,
    at: DateTime<Utc>,
) -> Result<(), Error> {
    let row = (
        used.user.as_uuid(),
        used.address.as_str(),
        Micros(at),
        used.id,
    );
    transaction.execute(&VOID_UNDO, row).await.map(drop)
}

/// Whether a token was used, as this transaction sees it.
///
/// # Errors
/// The driver's.
pub async fn is_used(transaction: &mut Transaction, id: Uuid) -> Result<bool, Error> {
    let found: Option<Link> = transaction.fetch_optional(&BY_ID, (id,)).await?;
    Ok(found.is_some_and(|link| link.used_at.is_some()))
}

/// The token that a client sent, if it is one of these uses, from the primary.
///
/// # Errors
/// When the store is unavailable, or reports an error.
pub async fn find(
    database: &Database,
    text: &str,
    purposes: &[Use],
    secrets: &TokenSecrets,
) -> Result<Option<Link>, StoreError> {
    let Some(presented) = Presented::parse(text) else {
        return Ok(None);
    };
    let found: Option<Link> = database.fetch_latest(&BY_ID, (presented.id,)).await?;
    Ok(found
        .filter(|link| purposes.contains(&link.grant.purpose))
        .filter(|link| presented.is_of(&link.grant, secrets)))
}

/// The token with this id, from the primary.
///
/// # Errors
/// When the store is unavailable, or reports an error.
pub async fn by_id(database: &Database, id: Uuid) -> Result<Option<Link>, StoreError> {
    database.fetch_latest(&BY_ID, (id,)).await
}
