//! A new account: the rows that commit together.

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use crate::access::change::Actor;
use crate::access::history::{self, Circumstances, Event};
use crate::domain::{Email, Locale, Name, PasswordHash, TokenEpoch, UserId};
use crate::mail::links;
use crate::mail::queue::{self, Kind, NewMail};
use crate::platform::database::{Error, Micros, Statement, Transaction};
use crate::slices::user::User;
use crate::tokens::one_time::{Grant, Use};

/// The values that commit together.
#[derive(Clone)]
pub struct NewAccount {
    /// The account's id.
    pub id: UserId,
    /// The event's id.
    pub event_id: Uuid,
    /// The user's name.
    pub name: Name,
    /// The user's display name.
    pub display_name: Name,
    /// The user's language.
    pub locale: Option<Locale>,
    /// The user's address.
    pub email: Email,
    /// The hash of the password.
    pub password_hash: PasswordHash,
    /// When the account was created, in whole microseconds.
    pub created_at: DateTime<Utc>,
    /// The correlation id of the request.
    pub correlation_id: String,
    /// Who created it, if not the user.
    pub actor: Option<Actor>,
    /// Where the account comes from, if it was not made here.
    pub imported: Option<Imported>,
    /// The mail to the user, if there is one.
    pub verification: Option<FirstMail>,
}

/// The mail with which a new user confirms the address.
#[derive(Debug, Clone, Copy)]
pub struct FirstMail {
    /// How: [`Use::Verify`] with the password, or [`Use::SetPassword`] by choosing it.
    pub purpose: Use,
    /// The id of the mail.
    pub mail: Uuid,
    /// The id of its token.
    pub token: Uuid,
}

/// Where an imported account comes from.
#[derive(Clone, Serialize)]
pub struct Imported {
    /// The import.
    pub import: String,
    /// The line of the account.
    pub line: i64,
    /// The account's id in the system that it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When it was imported: the time of the event.
    #[serde(skip)]
    pub at: DateTime<Utc>,
}

impl NewAccount {
    /// The event, for the history.
    fn event(&self) -> SignedUp<'_> {
        SignedUp {
            id: self.id.to_string(),
            name: self.name.as_str(),
            email: self.email.as_typed(),
            display_name: self.display_name.as_str(),
            locale: self.locale.as_ref().map(Locale::as_str),
            actor: self.actor.as_ref(),
            imported: self.imported.as_ref(),
        }
    }

    fn circumstances(&self) -> Circumstances {
        Circumstances {
            event_id: self.event_id,
            user_id: self.id,
            at: self.imported.as_ref().map_or(self.created_at, |of| of.at),
            correlation_id: self.correlation_id.clone(),
        }
    }

    /// The user, as the projection will have it.
    #[must_use]
    pub fn view(&self) -> User {
        User {
            id: self.id,
            name: self.name.as_str().to_owned(),
            email: self.email.as_typed().to_owned(),
            display_name: self.display_name.as_str().to_owned(),
            created_at: self.created_at,
        }
    }
}

/// An account was created.
#[derive(Serialize)]
struct SignedUp<'a> {
    /// The new user's id.
    id: String,
    /// The name sent at signup.
    name: &'a str,
    /// The address as typed.
    email: &'a str,
    /// The display name.
    display_name: &'a str,
    /// The language.
    #[serde(skip_serializing_if = "Option::is_none")]
    locale: Option<&'a str>,
    /// Who created the account, if not the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a Actor>,
    /// Where it comes from, if it was not made here.
    #[serde(skip_serializing_if = "Option::is_none")]
    imported: Option<&'a Imported>,
}

impl Event for SignedUp<'_> {
    const TYPE: &'static str = "user.signed_up";
}

static INSERT_USER: Statement = Statement::new(
    "INSERT INTO users (id, name, email, email_canonical, password_hash, created_at, updated_at, locale) \
     SELECT $1, $2, $3, $4, $5, $6, $6, $7 WHERE NOT EXISTS (SELECT 1 FROM one_time_tokens t \
     WHERE t.email_canonical = $4 AND t.purpose = 'undo' AND t.used_at IS NULL AND t.voided_at IS NULL \
     AND t.expires_at > $6) ON CONFLICT (email_canonical) DO NOTHING",
);

static INSERT_USER_READ: Statement = Statement::new(
    "INSERT INTO users_read (id, name, email, email_canonical, display_name, created_at) \
     VALUES ($1, $2, $3, $4, $5, $6)",
);

static VERIFY: Statement = Statement::new("UPDATE users SET email_verified_at = $2 WHERE id = $1");

static SUSPEND: Statement = Statement::new("UPDATE users SET status = 'suspended' WHERE id = $1");

static PROJECT_SUSPENDED: Statement =
    Statement::new("UPDATE users_read SET status = 'suspended' WHERE id = $1");

static PROJECT_VERIFIED: Statement =
    Statement::new("UPDATE users_read SET email_verified = TRUE WHERE id = $1");

/// Inserts one row each of `users`, `users_read` and `user_events`, in this lock order; and the mail with
/// its token, if the address is to be verified. Returns whether
/// it did: not if the canonical address has an account, or an account can still be moved back to it; nothing is
/// then written.
///
/// # Errors
/// The driver's.
pub async fn insert(transaction: &mut Transaction, account: &NewAccount) -> Result<bool, Error> {
    let (id, name, email) = (account.id.as_uuid(), account.name.as_str(), &account.email);
    let created_at = Micros(account.created_at);
    let user = (
        id,
        name,
        email.as_typed(),
        email.canonical(),
        account.password_hash.as_str(),
        created_at,
        account.locale.as_ref().map(Locale::as_str),
    );
    if transaction.execute(&INSERT_USER, user).await? == 0 {
        return Ok(false);
    }
    let user_read = (
        id,
        name,
        email.as_typed(),
        email.canonical(),
        account.display_name.as_str(),
        created_at,
    );
    transaction.execute(&INSERT_USER_READ, user_read).await?;
    let Some(FirstMail {
        purpose,
        mail,
        token,
    }) = account.verification
    else {
        history::append(transaction, &account.circumstances(), account.event()).await?;
        return Ok(true);
    };
    let at = account.created_at;
    let grant = Grant {
        id: token,
        user: account.id,
        purpose,
        address: email.canonical().to_owned(),
        new_email: None,
        epoch: TokenEpoch::default(),
        expires_at: at + links::life(purpose),
    };
    links::add(transaction, &grant, at).await?;
    history::append(transaction, &account.circumstances(), account.event()).await?;
    let kind = match purpose {
        Use::SetPassword => Kind::SetPassword,
        _ => Kind::Verify,
    };
    let mail = NewMail::with_link(mail, kind, account.id, token, at);
    queue::add(transaction, &mail).await?;
    Ok(true)
}

/// Marks the address of a new account as verified: an operator vouches for it.
///
/// # Errors
/// The driver's.
pub async fn verify(
    transaction: &mut Transaction,
    id: UserId,
    at: DateTime<Utc>,
) -> Result<(), Error> {
    transaction
        .execute(&VERIFY, (id.as_uuid(), Micros(at)))
        .await?;
    transaction
        .execute(&PROJECT_VERIFIED, (id.as_uuid(),))
        .await
        .map(drop)
}

/// Suspends a new account, which has no session yet.
///
/// # Errors
/// The driver's.
pub async fn suspend(transaction: &mut Transaction, id: UserId) -> Result<(), Error> {
    let id = (id.as_uuid(),);
    transaction.execute(&SUSPEND, id).await?;
    transaction.execute(&PROJECT_SUSPENDED, id).await.map(drop)
}
