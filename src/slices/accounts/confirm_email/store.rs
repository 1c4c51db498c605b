//! The writes of the slice.

use serde::Serialize;
use uuid::Uuid;

use crate::access::account::{end_other_sessions, end_sessions, revoke_tokens};
use crate::access::auth_log;
use crate::access::change::Change;
use crate::access::history::{self, Event};
use crate::domain::{Email, EndReason, SessionId, TokenEpoch, UserId};
use crate::mail::links::{self, Link};
use crate::mail::queue::{self, Kind, NewMail};
use crate::platform::database::{
    End, Error, Micros, Statement, Transaction, UnitOfWork, is_unique_violation,
};
use crate::slices::accounts::password_changed::PasswordChanged;
use crate::tokens::one_time::{Grant, Use};

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

// The address must be that of the token: another change may have been confirmed since. The session that asked
// must be there: who ends it ends what it began. An address to which another account can be moved back is
// not free.
static CONFIRM: Statement = Statement::new(
    "UPDATE users SET email = $4, email_canonical = $5, email_verified_at = $6, \
     token_epoch = token_epoch + 1, version = version + 1, updated_at = $6 \
     WHERE id = $1 AND email_canonical = $2 AND token_epoch = $3 \
     AND NOT EXISTS (SELECT 1 FROM users u WHERE u.email_canonical = $5 AND u.id <> $1) \
     AND NOT EXISTS (SELECT 1 FROM one_time_tokens t WHERE t.email_canonical = $5 AND t.user_id <> $1 \
     AND t.purpose = 'undo' AND t.used_at IS NULL AND t.voided_at IS NULL AND t.expires_at > $6) \
     AND EXISTS (SELECT 1 FROM sessions s WHERE s.id = $7 AND s.ended_at IS NULL) \
     RETURNING version, token_epoch",
);

static PREVIOUS: Statement =
    Statement::new("SELECT email, email_verified FROM users_read WHERE id = $1");

static RESTORE: Statement = Statement::new(
    "UPDATE users SET email = $2, email_canonical = $3, email_verified_at = $4, password_hash = '!', \
     password_changed_at = $4, token_epoch = token_epoch + 1, version = version + 1, updated_at = $4 \
     WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM users u WHERE u.email_canonical = $3 AND u.id <> $1) \
     RETURNING version, token_epoch",
);

static OTHER: Statement = Statement::new(
    "SELECT id FROM users WHERE email_canonical = $1 AND id <> $2 \
     UNION ALL SELECT t.user_id FROM one_time_tokens t WHERE t.email_canonical = $1 AND t.user_id <> $2 \
     AND t.purpose = 'undo' AND t.used_at IS NULL AND t.voided_at IS NULL AND t.expires_at > $3 LIMIT 1",
);

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
    /// A request beside this one has done it; nothing was written.
    AlreadyDone,
    /// The token has become void; nothing was written.
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
            link.session.map(SessionId::as_uuid),
        );
        let previous: Option<(String, bool)> = transaction
            .fetch_optional(&PREVIOUS, (user.as_uuid(),))
            .await?;
        let moved = moved(transaction.fetch_optional(&CONFIRM, row).await)?;
        let moved = match moved {
            Moved::To(moved) => moved,
            Moved::Not => return not_moved(transaction, link, email, change).await,
            Moved::Taken => return Ok(End::Rollback(Outcome::EmailTaken)),
        };
        let (previous, is_confirmed) = previous.unzip();
        let epoch = project(transaction, user, email, change, moved).await?;
        if let Some(but) = link.session {
            end_other_sessions(transaction, user, but, change, EndReason::Revoked).await?;
        }
        if !links::use_up(transaction, grant.id, change.at).await? {
            return Ok(End::Rollback(Outcome::Expired));
        }
        // Links to the address before, but for those that restore it.
        links::void_all(transaction, user, change.at).await?;
        let undo = Grant {
            id: change.id(),
            user,
            purpose: Use::Undo,
            address: grant.address.clone(),
            new_email: previous,
            epoch,
            expires_at: change.at + links::life(Use::Undo),
        };
        links::add(transaction, &undo, change.at).await?;
        revoke_tokens(transaction, user, epoch, change, "email_changed").await?;
        let event = EmailChanged {
            email: email.as_typed(),
            by: "confirm",
        };
        history::append(transaction, &change.of(user), event).await?;
        let id = change.id();
        let notice = NewMail {
            is_confirmed: is_confirmed.unwrap_or(false),
            ..NewMail::with_link(id, Kind::EmailChanged, user, undo.id, change.at)
        };
        queue::add(transaction, &notice).await?;
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
        } = self;
        let (user, at) = (link.grant.user, Micros(change.at));
        let row = (user.as_uuid(), email.as_typed(), email.canonical(), at);
        let moved = moved(transaction.fetch_optional(&RESTORE, row).await)?;
        let moved = match moved {
            Moved::To(moved) => moved,
            Moved::Not => return not_moved(transaction, link, email, change).await,
            Moved::Taken => return Ok(End::Rollback(Outcome::EmailTaken)),
        };
        let epoch = project(transaction, user, email, change, moved).await?;
        end_sessions(transaction, user, change, EndReason::PasswordChanged).await?;
        if !links::use_up(transaction, link.grant.id, change.at).await? {
            return not_moved(transaction, link, email, change).await;
        }
        links::void_all(transaction, user, change.at).await?;
        links::void_later_undos(transaction, &link.grant, change.at).await?;
        let choose = Grant {
            id: change.id(),
            user,
            purpose: Use::SetPassword,
            address: email.canonical().to_owned(),
            new_email: None,
            epoch,
            expires_at: change.at + links::life(Use::SetPassword),
        };
        links::add(transaction, &choose, change.at).await?;
        revoke_tokens(transaction, user, epoch, change, "email_restored").await?;
        let event = EmailChanged {
            email: email.as_typed(),
            by: "undo",
        };
        history::append(transaction, &change.of(user), event).await?;
        let event = PasswordChanged { by: "undo" };
        history::append(transaction, &change.of(user), event).await?;
        let id = change.id();
        let mail = NewMail::with_link(id, Kind::EmailRestored, user, choose.id, change.at);
        queue::add(transaction, &mail).await?;
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
    link: &Link,
    email: &Email,
    change: &Change,
) -> Result<End<Outcome>, Error> {
    if links::is_used(transaction, link.grant.id).await? {
        return Ok(End::Rollback(Outcome::AlreadyDone));
    }
    let user = link.grant.user.as_uuid();
    let row = (email.canonical(), user, Micros(change.at));
    let other: Option<(Uuid,)> = transaction.fetch_optional(&OTHER, row).await?;
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
