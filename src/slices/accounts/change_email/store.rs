//! The write of the slice: two tokens, and the mails that carry them.

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::access::change::Change;
use crate::access::{UserCaller, live};
use crate::domain::{Email, TokenEpoch};
use crate::idempotency;
use crate::mail::links;
use crate::mail::queue::{self, Kind, NewMail};
use crate::platform::database::{End, Error, Statement, Transaction, UnitOfWork};
use crate::tokens::one_time::{Grant, Use};

/// Requests of a user in an hour, and in a day, that have an effect.
pub const MOST: [(TimeDelta, u8); 2] = [(TimeDelta::hours(1), 3), (TimeDelta::days(1), 10)];

static ACCOUNT: Statement = Statement::new(
    "SELECT r.email, u.email_canonical, u.token_epoch, r.email_verified FROM users u \
     JOIN users_read r ON r.id = u.id WHERE u.id = $1",
);

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is taken in. Whether mails are sent is not said.
    Accepted,
    /// The session of the caller has ended; nothing was written.
    CallerEnded,
}

impl idempotency::Outcome for Outcome {
    const VERSION: i16 = 1;

    fn is_final(&self) -> bool {
        matches!(self, Self::Accepted)
    }
}

/// A request for another address.
pub struct ChangeEmail {
    /// Who asks.
    pub caller: UserCaller,
    /// The circumstances.
    pub change: Change,
    /// The new address.
    pub email: Email,
}

impl UnitOfWork for ChangeEmail {
    type Outcome = Outcome;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Outcome>, Error> {
        let Self { caller, change, .. } = self;
        let (user, at) = (caller.user, change.at);
        if !live::check_alone(transaction, caller, at).await? {
            return Ok(End::Rollback(Outcome::CallerEnded));
        }
        let account: Option<(String, String, i32, bool)> = transaction
            .fetch_optional(&ACCOUNT, (user.as_uuid(),))
            .await?;
        let Some((email, address, epoch, is_confirmed)) = account else {
            return Ok(End::Rollback(Outcome::CallerEnded));
        };
        for (time, most) in MOST {
            if links::made_since(transaction, user, Use::Change, at - time).await?
                >= i64::from(most)
            {
                return Ok(End::Rollback(Outcome::Accepted));
            }
        }
        let grant = |purpose, new_email: &str| Grant {
            id: change.id(),
            user,
            purpose,
            address: address.clone(),
            new_email: Some(new_email.to_owned()),
            epoch: TokenEpoch::new(epoch),
            expires_at: at + links::life(purpose),
        };
        let confirm = grant(Use::Change, self.email.as_typed());
        links::add_of(transaction, &confirm, Some(caller.session), at).await?;
        let undo = grant(Use::Undo, &email);
        links::add(transaction, &undo, at).await?;
        let to_new = NewMail::with_link(change.id(), Kind::ConfirmEmail, user, confirm.id, at);
        queue::add(transaction, &to_new).await?;
        let to_old = NewMail {
            is_confirmed,
            ..NewMail::with_link(change.id(), Kind::EmailChanging, user, undo.id, at)
        };
        queue::add(transaction, &to_old).await?;
        Ok(End::Commit(Outcome::Accepted))
    }
}
