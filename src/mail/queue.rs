//! The queue of mails: `mail_queue`.
//!
//! A row commits with its cause. An instance leases what is due, sends it outside of any transaction,
//! and marks it; a lease that its instance did not survive expires, and the mail is sent again with
//! the same `Message-ID`: at least once.

#[cfg(test)]
mod contract;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

use crate::domain::{Locale, StoreError, UserId};
use crate::platform::database::{
    Database, End, Error, FromRow, Json, Micros, Parameters, Row, Statement, Transaction,
    UnitOfWork,
};

/// What a mail is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A new user is to show that the mailbox is theirs.
    Verify,
    /// An address asked for [`Kind::Verify`]; whether it gets one is found out when it is sent.
    VerifyRequest,
    /// A user may set another password.
    Reset,
    /// An address asked for [`Kind::Reset`]; the same.
    ResetRequest,
    /// Logins from new devices are closed, after too many failed ones; the user may set another password.
    LoginClosed,
    /// Logins with an address were closed; whether it has an account is found out when it is sent.
    LoginClosedRequest,
    /// The password was changed.
    PasswordChanged,
    /// A session ended, as one of its old refresh tokens was used.
    SessionReused,
    /// A new user, whom an administrator made, may set the first password.
    SetPassword,
    /// A user is to show that a mailbox is theirs, before it replaces the address. It goes to the new one.
    ConfirmEmail,
    /// A change of the address was asked for. It goes to the address until now, and can be undone.
    EmailChanging,
    /// The address was changed. It goes to the address before, and can be undone.
    EmailChanged,
    /// The address was restored, and another password is to be chosen.
    EmailRestored,
    /// An account was to be made for an address, or an address was to be moved to it, and it has one already.
    AccountExists,
    /// An account was to be made for an address to which another one can still be moved back.
    AddressReserved,
    /// An address was to sign up that has an account; what it gets is found out when it is sent.
    SignupRequest,
    /// The account was erased.
    Erased,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 17] = [
        Self::Verify,
        Self::VerifyRequest,
        Self::Reset,
        Self::ResetRequest,
        Self::LoginClosed,
        Self::LoginClosedRequest,
        Self::PasswordChanged,
        Self::SessionReused,
        Self::SetPassword,
        Self::ConfirmEmail,
        Self::EmailChanging,
        Self::EmailChanged,
        Self::EmailRestored,
        Self::AccountExists,
        Self::AddressReserved,
        Self::SignupRequest,
        Self::Erased,
    ];

    /// Whether a mail of this kind is sent as it is: the others become one of these.
    #[must_use]
    pub const fn is_sent(self) -> bool {
        !matches!(
            self,
            Self::VerifyRequest
                | Self::ResetRequest
                | Self::LoginClosedRequest
                | Self::SignupRequest
        )
    }

    /// Whether a mail of this kind has a link with a token.
    #[must_use]
    pub const fn has_link(self) -> bool {
        !matches!(
            self,
            Self::PasswordChanged
                | Self::SessionReused
                | Self::AccountExists
                | Self::AddressReserved
                | Self::Erased
        )
    }

    /// Its name, in the table, for templates and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::VerifyRequest => "verify_request",
            Self::Reset => "reset",
            Self::ResetRequest => "reset_request",
            Self::LoginClosed => "login_closed",
            Self::LoginClosedRequest => "login_closed_request",
            Self::PasswordChanged => "password_changed",
            Self::SessionReused => "session_reused",
            Self::SetPassword => "set_password",
            Self::ConfirmEmail => "confirm_email",
            Self::EmailChanging => "email_changing",
            Self::EmailChanged => "email_changed",
            Self::EmailRestored => "email_restored",
            Self::AccountExists => "account_exists",
            Self::AddressReserved => "address_reserved",
            Self::SignupRequest => "signup_request",
            Self::Erased => "erased",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A mail to send.
#[derive(Debug, Clone)]
pub struct NewMail {
    /// Its id: a `UUIDv7`, part of its `Message-ID`.
    pub id: Uuid,
    /// What it is about.
    pub kind: Kind,
    /// To whom; `None` of a request.
    pub user: Option<UserId>,
    /// The token of its link.
    pub token: Option<Uuid>,
    /// The address of a request, sealed.
    pub to_sealed: Option<Vec<u8>>,
    /// The language, if the user is not there any more when it is sent.
    pub locale: Option<Locale>,
    /// Whether its address was confirmed when it was caused; of one that may be of no account when it is sent.
    pub is_confirmed: bool,
    /// When it was caused, in whole microseconds.
    pub at: DateTime<Utc>,
}

impl NewMail {
    /// A mail to a user, without a link.
    #[must_use]
    pub const fn notice(id: Uuid, kind: Kind, user: UserId, at: DateTime<Utc>) -> Self {
        Self {
            id,
            kind,
            user: Some(user),
            token: None,
            to_sealed: None,
            locale: None,
            is_confirmed: false,
            at,
        }
    }

    /// A mail with the link of this token.
    #[must_use]
    pub fn with_link(id: Uuid, kind: Kind, user: UserId, token: Uuid, at: DateTime<Utc>) -> Self {
        Self {
            token: Some(token),
            ..Self::notice(id, kind, user, at)
        }
    }

    /// A mail to an address, sealed for this id: whether it has an account is found out when it is sent.
    #[must_use]
    pub const fn to_address(id: Uuid, kind: Kind, sealed: Vec<u8>, at: DateTime<Utc>) -> Self {
        Self {
            id,
            kind,
            user: None,
            token: None,
            to_sealed: Some(sealed),
            locale: None,
            is_confirmed: false,
            at,
        }
    }
}

/// A mail that this instance may send until its lease ends.
#[derive(Debug, Clone)]
pub struct Leased {
    /// Its id.
    pub id: Uuid,
    /// What it is about.
    pub kind: Kind,
    /// To whom; `None` of a request.
    pub user: Option<UserId>,
    /// The token of its link.
    pub token: Option<Uuid>,
    /// The address of a request, sealed.
    pub to_sealed: Option<Vec<u8>>,
    /// The language, if the user is not there any more.
    pub locale: Option<Locale>,
    /// Whether its address was confirmed when it was caused, if that was noted.
    pub is_confirmed: bool,
    /// How often it was leased, this time included.
    pub attempts: i32,
    /// When it was caused.
    pub created_at: DateTime<Utc>,
    lease: DateTime<Utc>,
}

impl Leased {
    /// When this instance may no longer send it.
    #[must_use]
    pub const fn leased_until(&self) -> DateTime<Utc> {
        self.lease
    }
}

/// The parameter `address` of a mail to a confirmed one.
const CONFIRMED: &str = "confirmed";

/// A row that was leased; `None` if it is of a kind that another release has added, as after a rollback. It is
/// left to an instance of that release.
struct Found(Option<Leased>);

impl FromRow for Found {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        let kind: String = row.get("kind")?;
        let Some(kind) = Kind::parse(&kind) else {
            tracing::warn!(kind, "mail of an unknown kind left alone");
            return Ok(Self(None));
        };
        let user: Option<Uuid> = row.get("user_id")?;
        Ok(Self(Some(Leased {
            id: row.get("id")?,
            kind,
            user: user.map(UserId::new),
            token: row.get("token_id")?,
            to_sealed: row.get("to_sealed")?,
            locale: super::locale(row)?,
            is_confirmed: row.get::<Option<String>>("address")?.as_deref() == Some(CONFIRMED),
            attempts: row.get("attempts")?,
            created_at: row.get::<Micros>("created_at")?.0,
            lease: row.get::<Micros>("leased_until")?.0,
        })))
    }
}

static INSERT: Statement = Statement::new(
    "INSERT INTO mail_queue (id, kind, user_id, token_id, to_sealed, params, created_at, next_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
);

// Rows that another instance leases at the same moment are skipped.
static LEASE_POSTGRES: Statement = Statement::new(
    "UPDATE mail_queue SET leased_until = $2, attempts = attempts + 1 WHERE id = ANY (ARRAY( \
     SELECT id FROM mail_queue WHERE next_at <= $1 AND sent_at IS NULL AND dead_at IS NULL \
     AND (leased_until IS NULL OR leased_until <= $1) ORDER BY next_at LIMIT $3 \
     FOR UPDATE SKIP LOCKED)) \
     RETURNING id, kind, user_id, token_id, to_sealed, params ->> 'locale' AS locale, \
     params ->> 'address' AS address, attempts, created_at, leased_until",
);

static LEASE_SQLITE: Statement = Statement::new(
    "UPDATE mail_queue SET leased_until = $2, attempts = attempts + 1 WHERE id IN ( \
     SELECT id FROM mail_queue WHERE next_at <= $1 AND sent_at IS NULL AND dead_at IS NULL \
     AND (leased_until IS NULL OR leased_until <= $1) ORDER BY next_at LIMIT $3) \
     RETURNING id, kind, user_id, token_id, to_sealed, params ->> 'locale' AS locale, \
     params ->> 'address' AS address, attempts, created_at, leased_until",
);

// The lease is part of each condition: an instance that is late changes nothing.
static SENT: Statement = Statement::new(
    "UPDATE mail_queue SET sent_at = $3, leased_until = NULL, to_sealed = NULL, last_error = NULL \
     WHERE id = $1 AND leased_until = $2 RETURNING id",
);

static LATER: Statement = Statement::new(
    "UPDATE mail_queue SET next_at = $3, leased_until = NULL, attempts = $4, last_error = $5 \
     WHERE id = $1 AND leased_until = $2 RETURNING id",
);

static DEAD: Statement = Statement::new(
    "UPDATE mail_queue SET dead_at = $3, leased_until = NULL, to_sealed = NULL, last_error = $4 \
     WHERE id = $1 AND leased_until = $2 RETURNING id",
);

static REMOVE: Statement =
    Statement::new("DELETE FROM mail_queue WHERE id = $1 AND leased_until = $2 RETURNING id");

static BECOME: Statement = Statement::new(
    "UPDATE mail_queue SET kind = $3, user_id = $4, token_id = $5, to_sealed = NULL \
     WHERE id = $1 AND leased_until = $2",
);

static BACKLOG: Statement = Statement::new(
    "SELECT min(CASE WHEN dead_at IS NULL THEN created_at END) AS oldest, \
     count(dead_at) AS dead FROM mail_queue WHERE sent_at IS NULL",
);

/// How long a mail is kept after it was caused, for the export of a user's data.
pub const KEPT: TimeDelta = TimeDelta::days(90);

static PURGE: Statement = Statement::new(
    "DELETE FROM mail_queue WHERE id IN (SELECT id FROM mail_queue WHERE created_at <= $1 \
     ORDER BY created_at LIMIT $2) RETURNING id",
);

/// Adds a mail. In the lock order of a transaction it comes after the history, before the log.
///
/// # Errors
/// The driver's.
pub async fn add(transaction: &mut Transaction, mail: &NewMail) -> Result<(), Error> {
    transaction.execute(&INSERT, row(mail)).await.map(drop)
}

static REMOVE_ALL: Statement = Statement::new("DELETE FROM mail_queue WHERE user_id = $1");

/// Removes all mails to a user, sent or not.
///
/// # Errors
/// The driver's.
pub async fn remove_all(transaction: &mut Transaction, user: UserId) -> Result<(), Error> {
    let row = (user.as_uuid(),);
    transaction.execute(&REMOVE_ALL, row).await.map(drop)
}

/// Adds a mail in a transaction of its own.
///
/// # Errors
/// When the outcome is not certain: it may be sent all the same.
pub async fn add_alone(database: &Database, mail: &NewMail) -> Result<(), StoreError> {
    let none: Vec<(Uuid,)> = database.write_one(&INSERT, row(mail)).await?;
    drop(none);
    Ok(())
}

fn row(mail: &NewMail) -> impl Parameters + use<> {
    let mut params = json!({});
    if let Some(locale) = &mail.locale {
        params["locale"] = json!(locale.as_str());
    }
    if mail.is_confirmed {
        params["address"] = json!(CONFIRMED);
    }
    (
        mail.id,
        mail.kind.as_str(),
        mail.user.map(UserId::as_uuid),
        mail.token,
        mail.to_sealed.clone(),
        Json(params),
        Micros(mail.at),
    )
}

/// The queue, for those who send.
pub struct Queue {
    database: Database,
}

impl Queue {
    /// The queue in this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// Leases what is due, `most` mails at once.
    ///
    /// # Errors
    /// When the outcome is not certain: what was leased is free again when the lease ends.
    pub async fn lease(
        &self,
        now: DateTime<Utc>,
        for_time: TimeDelta,
        most: i32,
    ) -> Result<Vec<Leased>, StoreError> {
        let until = now + for_time;
        self.database.write(Lease { now, until, most }).await
    }

    /// Records that a mail was sent.
    ///
    /// # Errors
    /// When the outcome is not certain: it is then sent once more.
    pub async fn sent(&self, mail: &Leased, now: DateTime<Utc>) -> Result<(), StoreError> {
        let parameters = (mail.id, Micros(mail.lease), Micros(now));
        self.change(&SENT, parameters).await
    }

    /// Puts a mail off.
    ///
    /// # Errors
    /// When the outcome is not certain: it is free again when the lease ends.
    pub async fn later(
        &self,
        mail: &Leased,
        next_at: DateTime<Utc>,
        attempts: i32,
        error: &'static str,
    ) -> Result<(), StoreError> {
        let parameters = (
            mail.id,
            Micros(mail.lease),
            Micros(next_at),
            attempts,
            error,
        );
        self.change(&LATER, parameters).await
    }

    /// Gives a mail up.
    ///
    /// # Errors
    /// When the outcome is not certain: it is then tried once more.
    pub async fn dead(
        &self,
        mail: &Leased,
        now: DateTime<Utc>,
        error: &'static str,
    ) -> Result<(), StoreError> {
        let parameters = (mail.id, Micros(mail.lease), Micros(now), error);
        self.change(&DEAD, parameters).await
    }

    /// Removes a mail that is for no one.
    ///
    /// # Errors
    /// When the outcome is not certain: it is then looked at once more.
    pub async fn remove(&self, mail: &Leased) -> Result<(), StoreError> {
        self.change(&REMOVE, (mail.id, Micros(mail.lease))).await
    }

    /// Removes mails that are older than [`KEPT`], `most` at once. Returns how many there were.
    ///
    /// # Errors
    /// When the outcome is not certain.
    pub async fn purge(&self, now: DateTime<Utc>, most: i32) -> Result<usize, StoreError> {
        let parameters = (Micros(now - KEPT), most);
        let rows: Vec<(Uuid,)> = self.database.write_one(&PURGE, parameters).await?;
        Ok(rows.len())
    }

    /// The age of the oldest mail that is not sent, and how many were given up.
    ///
    /// # Errors
    /// When the store is unavailable, or reports an error.
    pub async fn backlog(&self, now: DateTime<Utc>) -> Result<(TimeDelta, i64), StoreError> {
        let found: Option<(Option<Micros>, i64)> = self.database.fetch_latest(&BACKLOG, ()).await?;
        let (oldest, dead) = found.unwrap_or((None, 0));
        Ok((oldest.map_or(TimeDelta::zero(), |at| now - at.0), dead))
    }

    async fn change(
        &self,
        statement: &'static Statement,
        parameters: impl Parameters,
    ) -> Result<(), StoreError> {
        let rows: Vec<(Uuid,)> = self.database.write_one(statement, parameters).await?;
        drop(rows);
        Ok(())
    }
}

struct Lease {
    now: DateTime<Utc>,
    until: DateTime<Utc>,
    most: i32,
}

impl UnitOfWork for Lease {
    type Outcome = Vec<Leased>;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Vec<Leased>>, Error> {
        let statement = transaction.pick(&LEASE_POSTGRES, &LEASE_SQLITE);
        let parameters = (Micros(self.now), Micros(self.until), self.most);
        let found: Vec<Found> = transaction.fetch_all(statement, parameters).await?;
        let leased: Vec<_> = found.into_iter().filter_map(|row| row.0).collect();
        Ok(if leased.is_empty() {
            End::Rollback(leased)
        } else {
            End::Commit(leased)
        })
    }
}

/// Turns a request into a mail to a user, with its token.
///
/// # Errors
/// The driver's.
pub async fn turn_into(
    transaction: &mut Transaction,
    mail: &Leased,
    kind: Kind,
    user: UserId,
    token: Option<Uuid>,
) -> Result<bool, Error> {
    let parameters = (
        mail.id,
        Micros(mail.lease),
        kind.as_str(),
        user.as_uuid(),
        token,
    );
    Ok(transaction.execute(&BECOME, parameters).await? > 0)
}
