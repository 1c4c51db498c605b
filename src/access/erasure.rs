//! The erasure of users: what is left of one is an id, and the times of its events.
//!
//! Everything goes in one transaction: the account with its sessions, tokens and roles, its row in the
//! projection, the payload of its events, its mails. A tombstone stays, so that it can be repeated after a
//! backup from before is restored. A late retry of the signup gets the outcome `account_erased`, and does
//! not make the account again.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::auth_log;
use super::change::{Actor, Change, ChangeError};
use super::feed::{self, Feed, Revocation};
use super::history::{self, Event};
use super::roles;
use crate::dependencies::Dependencies;
use crate::domain::{Locale, StoreError, UserId};
use crate::idempotency::{Idempotency, KeyFingerprint, record};
use crate::mail;
use crate::mail::queue::{self, Kind, NewMail};
use crate::platform::database::{Database, End, Error, Micros, Statement, Transaction, UnitOfWork};
use crate::tokens::secrets::TokenSecrets;

/// A user was erased.
#[derive(Serialize)]
struct Erased<'a> {
    /// Who erased it.
    actor: &'a Actor,
}

impl Event for Erased<'_> {
    const TYPE: &'static str = "user.erased";
}

/// The outcome of an erasure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErasureOutcome {
    /// The user is erased. With the keys whose outcomes had a name or an address.
    Erased(Vec<KeyFingerprint>),
    /// There is no such user.
    NoSuchUser,
    /// No active administrator would be left; nothing was written.
    LastAdmin,
}

static ADDRESS: Statement = Statement::new(
    "SELECT email, (SELECT u.locale FROM users u WHERE u.id = users_read.id) AS locale, email_verified \
     FROM users_read WHERE id = $1",
);

static DELETE_USER: Statement = Statement::new("DELETE FROM users WHERE id = $1");

static DELETE_USER_READ: Statement = Statement::new("DELETE FROM users_read WHERE id = $1");

static ADD_TOMBSTONE: Statement = Statement::new(
    "INSERT INTO user_tombstones (user_id, erased_at, actor) VALUES ($1, $2, $3) \
     ON CONFLICT (user_id) DO NOTHING",
);

static TOMBSTONES: Statement = Statement::new(
    "SELECT user_id, erased_at FROM user_tombstones WHERE user_id > $1 ORDER BY user_id LIMIT $2",
);

/// Erases users.
#[derive(Clone)]
pub struct Eraser {
    /// The database.
    pub database: Database,
    /// The feed of the instance, if it is one.
    pub feed: Option<Arc<Feed>>,
    /// The keys and their outcomes, if copies of these may be in Redis.
    pub idempotency: Option<Arc<Idempotency>>,
    /// Seals the address of the last mail; `None` if no mail is sent.
    pub secrets: Option<Arc<TokenSecrets>>,
}

impl Eraser {
    /// Of the instance with these dependencies.
    #[must_use]
    pub fn new(dependencies: &Dependencies) -> Self {
        let secrets = &dependencies.tokens.secrets;
        Self {
            database: dependencies.database.clone(),
            feed: Some(Arc::clone(&dependencies.feed)),
            idempotency: Some(Arc::clone(&dependencies.idempotency)),
            secrets: dependencies.delivery.as_ref().map(|_| Arc::clone(secrets)),
        }
    }

    /// Erases a user. The last active administrator is not erased.
    ///
    /// # Errors
    /// When the actor was revoked meanwhile, or the outcome is not certain: it can be repeated.
    pub async fn erase(&self, user: UserId, change: Change) -> Result<ErasureOutcome, ChangeError> {
        let work = Erase {
            user,
            change,
            secrets: self.secrets.clone(),
        };
        let outcome = self.database.write(work).await?;
        let outcome = outcome.ok_or(ChangeError::Revoked)?;
        if let ErasureOutcome::Erased(keys) = &outcome {
            if let Some(feed) = &self.feed {
                feed.add(Revocation::Erased(user));
            }
            if let Some(idempotency) = &self.idempotency {
                idempotency.forget(keys).await;
            }
        }
        Ok(outcome)
    }
}

/// A user that was erased.
pub type Tombstone = (UserId, DateTime<Utc>);

/// Those who were erased, by their ids, `most` at once; the first page begins `after` the nil id.
///
/// # Errors
/// When the store is unavailable, or reports an error.
pub async fn tombstones(
    database: &Database,
    after: UserId,
    most: i32,
) -> Result<Vec<Tombstone>, StoreError> {
    let parameters = (after.as_uuid(), most);
    let rows: Vec<(Uuid, Micros)> = database.fetch_all_latest(&TOMBSTONES, parameters).await?;
    let rows = rows.into_iter();
    Ok(rows.map(|(id, at)| (UserId::new(id), at.0)).collect())
}

struct Erase {
    user: UserId,
    change: Change,
    secrets: Option<Arc<TokenSecrets>>,
}

impl UnitOfWork for Erase {
    /// `None` if the credential of the actor is no longer good.
    type Outcome = Option<ErasureOutcome>;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Self::Outcome>, Error> {
        let Self { user, change, .. } = self;
        let id = user.as_uuid();
        // First, as the order of locks requires.
        let keys = record::redact(transaction, *user).await?;
        let address: Option<(String, Option<String>, bool)> =
            transaction.fetch_optional(&ADDRESS, (id,)).await?;
        if address.is_none() {
            // Also if a request beside this one has erased the actor: that it was erased is the outcome.
            return Ok(End::Rollback(Some(ErasureOutcome::NoSuchUser)));
        }
        if !change.is_authorized(transaction).await? {
            return Ok(End::Rollback(None));
        }
        roles::lock_admins(transaction).await?;
        if roles::was_last_admin(transaction, *user).await? {
            return Ok(End::Rollback(Some(ErasureOutcome::LastAdmin)));
        }
        // Sessions, tokens and roles go with it.
        let deleted = transaction.execute(&DELETE_USER, (id,)).await? > 0;
        let Some(last) = address.filter(|_| deleted) else {
            return Ok(End::Rollback(Some(ErasureOutcome::NoSuchUser)));
        };
        transaction.execute(&DELETE_USER_READ, (id,)).await?;
        let revocation = Revocation::Erased(*user);
        feed::revoke(transaction, change.id(), revocation, "erased", change.at).await?;
        history::redact(transaction, *user).await?;
        let actor = &change.actor;
        history::append(transaction, &change.of(*user), Erased { actor }).await?;
        queue::remove_all(transaction, *user).await?;
        self.add_last_mail(transaction, last).await?;
        let tombstone = (id, Micros(change.at), actor.to_string());
        transaction.execute(&ADD_TOMBSTONE, tombstone).await?;
        auth_log::append_change(transaction, change, "erased", &user.to_string()).await?;
        Ok(End::Commit(Some(ErasureOutcome::Erased(keys))))
    }
}

impl Erase {
    /// The mail that says so has its address sealed, and is removed when it was sent.
    async fn add_last_mail(
        &self,
        transaction: &mut Transaction,
        (address, locale, is_confirmed): (String, Option<String>, bool),
    ) -> Result<(), Error> {
        let Some(secrets) = &self.secrets else {
            return Ok(());
        };
        let id = self.change.id();
        let Some(sealed) = mail::seal(secrets, id, &address) else {
            return Ok(());
        };
        let mut mail = NewMail::to_address(id, Kind::Erased, sealed, self.change.at);
        mail.locale = Locale::of_row(locale);
        mail.is_confirmed = is_confirmed;
        queue::add(transaction, &mail).await
    }
}
