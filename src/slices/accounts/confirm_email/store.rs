//! The writes of the slice.

use std::sync::Arc;

use serde::Serialize;

use crate::access::account::{end_other_sessions, end_sessions, revoke_tokens};
use crate::access::auth_log;
use crate::access::change::Change;
use crate::access::history::{self, Event};
use crate::domain::{Email, EndReason, TokenEpoch, UserId};
use crate::mail::links::{self, Link};
use crate::mail::queue::{self, Kind, NewMail};
use crate::mail::seal;
use crate::platform::database::{
    End, Error, Micros, Statement, Transaction, UnitOfWork, is_unique_violation,
};
use crate::slices::accounts::password_changed::PasswordChanged;
use crate::tokens::secrets::TokenSecrets;

/// An account has another address.
#[derive(Serialize)]
struct EmailChanged<'a> {
    /// The address now, as typed.
    email: &'a str,
    /// How: `confirm` or `undo`.
    by: &'static str,
}

impl Event for EmailChanged<'_> {
    const TYPE: &'static str = "user.email_changed";
}

// The address must be that of the token: another change may have been confirmed since.
static CONFIRM: Statement = Statement::new(
    "UPDATE users SET email = $4, email_canonical = $5, email_verified_at = $6, \
     token_epoch = token_epoch + 1, version = version + 1, updated_at = $6 \
     WHERE id = $1 AND email_canonical = $2 AND token_epoch = $3 \
     AND NOT EXISTS (SELECT 1 FROM users u WHERE u.email_canonical = $5 AND u.id <> $1) \
     RETURNING version, token_epoch",
);

static RESTORE: Statement = Statement::new(
    "UPDATE users SET email = $2, email_canonical = $3, email_verified_at = $4, password_hash = '!', \
     password_changed_at = $4, token_epoch = token_epoch + 1, version = version + 1, updated_at = $4 \
     WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM users u WHERE u.email_canonical = $3 AND u.id <> $1) \
     RETURNING version, token_epoch",
);

static OTHER: Statement =
    Statement::new("SELECT id FROM users WHERE email_canonical = $1 AND id <> $2");

static PROJECT: Statement = Statement::new(
    "UPDATE users_read SET email = $2, email_canonical = $3, email_verified = TRUE, updated_at = $4, \
     version = $5 WHERE id = $1",
);

/// The outcome of moving an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is moved; access tokens of the user with a lower epoch are not accepted any more.
    Done(UserId, TokenEpoch),
    /// Another account has the address; nothing was written.
    EmailTaken,
    /// Another request has used the token, or it has become void; nothing was written.
    Expired,
}

/// Moves an account to the address of its token.
pub struct Confirm {
    /// The token.
    pub link: Link,
    /// The address.
    pub email: Email,
    /// The circumstances.
    pub change: Change,
}

/// Moves an account back to the address of its token.
pub struct Undo {
    /// The token.
    pub link: Link,
    /// The address.
    pub email: Email,
    /// The circumstances.
    pub change: Change,
    /// Seals the address of the mail that follows.
    pub secrets: Arc<TokenSecrets>,
}

impl UnitOfWork for Confirm {
    type Outcome = Outcome;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Outcome>, Error> {
        let Self {
            link,
            email,
            change,
        } = self;
        let (grant, user) = (&link.grant, link.grant.user);
        let row = (
            user.as_uuid(),
            grant.address.as_str(),
            grant.epoch.get(),
            email.as_typed(),
            email.canonical(),
            Micros(change.at),
        );
        let moved = moved(transaction.fetch_optional(&CONFIRM, row).await)?;
        let moved = match moved {
            Moved::To(moved) => moved,
            Moved::Not => return not_moved(transaction, user, email).await,
            Moved::Taken => return Ok(End::Rollback(Outcome::EmailTaken)),
        };
        let epoch = project(transaction, user, email, change, moved).await?;
        let reason = EndReason::Revoked;
        match link.session {
            Some(but) => end_other_sessions(transaction, user, but, change, reason).await?,
            None => end_sessions(transaction, user, change, reason).await?,
        };
        if !links::use_up(transaction, grant.id, change.at).await? {
            return Ok(End::Rollback(Outcome::Expired));
        }
        // Links to the address before, but for the one that restores it.
        links::void_all(transaction, user, change.at).await?;
        revoke_tokens(transaction, user, epoch, change, "email_changed").await?;
        let event = EmailChanged {
            email: email.as_typed(),
            by: "confirm",
        };
        history::append(transaction, &change.of(user), event).await?;
        let subject = user.to_string();
        auth_log::append_change(transaction, change, "email_changed", &subject).await?;
        Ok(End::Commit(Outcome::Done(user, epoch)))
    }
}

impl UnitOfWork for Undo {
    type Outcome = Outcome;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Outcome>, Error> {
        let Self {
            link,
            email,
            change,
            secrets,
        } = self;
        let (user, at) = (link.grant.user, Micros(change.at));
        let row = (user.as_uuid(), email.as_typed(), email.canonical(), at);
        let moved = moved(transaction.fetch_optional(&RESTORE, row).await)?;
        let moved = match moved {
            Moved::To(moved) => moved,
            Moved::Not => return not_moved(transaction, user, email).await,
            Moved::Taken => return Ok(End::Rollback(Outcome::EmailTaken)),
        };
        let epoch = project(transaction, user, email, change, moved).await?;
        end_sessions(transaction, user, change, EndReason::PasswordChanged).await?;
        if !links::use_up(transaction, link.grant.id, change.at).await? {
            return Ok(End::Rollback(Outcome::Expired));
        }
        links::void_all(transaction, user, change.at).await?;
        revoke_tokens(transaction, user, epoch, change, "email_restored").await?;
        let event = EmailChanged {
            email: email.as_typed(),
            by: "undo",
        };
        history::append(transaction, &change.of(user), event).await?;
        let event = PasswordChanged { by: "undo" };
        history::append(transaction, &change.of(user), event).await?;
        let id = change.id();
        if let Some(sealed) = seal(secrets, id, email.canonical()) {
            let reset = NewMail::to_address(id, Kind::ResetRequest, sealed, change.at);
            queue::add(transaction, &reset).await?;
        }
        let subject = user.to_string();
        auth_log::append_change(transaction, change, "email_restored", &subject).await?;
        Ok(End::Commit(Outcome::Done(user, epoch)))
    }
}

/// The version and the epoch of an account that was moved.
enum Moved {
    To((i32, i32)),
    Not,
    /// Another account has got the address at the same time.
    Taken,
}

fn moved(updated: Result<Option<(i32, i32)>, Error>) -> Result<Moved, Error> {
    match updated {
        Ok(Some(moved)) => Ok(Moved::To(moved)),
        Ok(None) => Ok(Moved::Not),
        Err(error) if is_unique_violation(&error) => Ok(Moved::Taken),
        Err(error) => Err(error),
    }
}

/// Why an account was not moved.
async fn not_moved(
    transaction: &mut Transaction,
    user: UserId,
    email: &Email,
) -> Result<End<Outcome>, Error> {
    let row = (email.canonical(), user.as_uuid());
    let other: Option<(uuid::Uuid,)> = transaction.fetch_optional(&OTHER, row).await?;
    Ok(End::Rollback(if other.is_some() {
        Outcome::EmailTaken
    } else {
        Outcome::Expired
    }))
}

async fn project(
    transaction: &mut Transaction,
    user: UserId,
    email: &Email,
    change: &Change,
    (version, epoch): (i32, i32),
) -> Result<TokenEpoch, Error> {
    let row = (
        user.as_uuid(),
        email.as_typed(),
        email.canonical(),
        Micros(change.at),
        version,
    );
    transaction.execute(&PROJECT, row).await?;
    Ok(TokenEpoch::new(epoch))
}
