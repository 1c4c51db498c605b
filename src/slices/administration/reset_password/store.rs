//! The write of the slice: a token and its mail.

use crate::access::auth_log;
use crate::access::change::Change;
use crate::domain::{TokenEpoch, UserId};
use crate::mail::links;
use crate::mail::queue::{self, Kind, NewMail};
use crate::platform::database::{End, Error, Statement, Transaction, UnitOfWork};
use crate::tokens::one_time::{Grant, Use};

// A user without a password gets a link that works for longer.
static ACCOUNT: Statement =
    Statement::new("SELECT email_canonical, token_epoch, password_hash FROM users WHERE id = $1");

static LOCK_POSTGRES: Statement =
    Statement::new("SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE");

/// A reset that an administrator begins.
pub struct BeginReset {
    /// Whose password it is.
    pub user: UserId,
    /// The circumstances.
    pub change: Change,
}

impl UnitOfWork for BeginReset {
    /// Whether there is such a user.
    type Outcome = bool;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<bool>, Error> {
        let Self { user, change } = self;
        let id = (user.as_uuid(),);
        // An erasure waits, and so does a request of the user for the same mail.
        transaction.lock(&LOCK_POSTGRES, id).await?;
        let account: Option<(String, i32, String)> =
            transaction.fetch_optional(&ACCOUNT, id).await?;
        let Some((address, epoch, hash)) = account else {
            return Ok(End::Rollback(false));
        };
        let (purpose, kind) = if hash == "!" {
            (Use::SetPassword, Kind::SetPassword)
        } else {
            (Use::Reset, Kind::Reset)
        };
        let grant = Grant {
            id: change.id(),
            user: *user,
            purpose,
            address,
            new_email: None,
            epoch: TokenEpoch::new(epoch),
            expires_at: change.at + links::life(purpose),
        };
        links::add(transaction, &grant, change.at).await?;
        let mail = NewMail::with_link(change.id(), kind, *user, grant.id, change.at);
        queue::add(transaction, &mail).await?;
        auth_log::append_change(transaction, change, "reset_begun", &user.to_string()).await?;
        Ok(End::Commit(true))
    }
}
