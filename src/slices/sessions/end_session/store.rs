//! The write of the slice.

#[cfg(test)]
mod contract;

use uuid::Uuid;

use crate::access::{UserCaller, live};
use crate::domain::SessionId;
use crate::platform::database::{End, Error, Statement, Transaction, UnitOfWork};
use crate::slices::sessions::end::Ending;

static OWN: Statement = Statement::new("SELECT id FROM sessions WHERE id = $1 AND user_id = $2");

/// Ends a session of the caller. One that has ended already stays as it is.
pub struct EndSession {
    /// Who ends it.
    pub caller: UserCaller,
    /// The session.
    pub session: SessionId,
    /// Why and when.
    pub ending: Ending,
}

/// The outcome of ending a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It has ended, now or before.
    Ended,
    /// The caller has no such session; nothing was written.
    NotFound,
    /// The caller's own session has ended; nothing was written.
    CallerEnded,
}

impl UnitOfWork for EndSession {
    type Outcome = Outcome;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Outcome>, Error> {
        if !live::check(transaction, &self.caller, self.ending.at).await? {
            return Ok(End::Rollback(Outcome::CallerEnded));
        }
        let key = (self.session.as_uuid(), self.caller.user.as_uuid());
        let own: Option<(Uuid,)> = transaction.fetch_optional(&OWN, key).await?;
        if own.is_none() {
            return Ok(End::Rollback(Outcome::NotFound));
        }
        Ok(if self.ending.end(transaction, self.session).await? {
            End::Commit(Outcome::Ended)
        } else {
            End::Rollback(Outcome::Ended)
        })
    }
}
