//! The write of the slice.

#[cfg(test)]
mod contract;

use crate::access::{UserCaller, live};
use crate::domain::SessionId;
use crate::platform::database::{End, Error, Transaction, UnitOfWork};
use crate::slices::sessions::end::Ending;

/// Ends all sessions of the caller but the current one.
pub struct EndOtherSessions {
    /// Who ends them.
    pub caller: UserCaller,
    /// Why and when.
    pub ending: Ending,
}

/// The outcome of ending the other sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// These have ended now.
    Ended(Vec<SessionId>),
    /// The caller's own session has ended; nothing was written.
    CallerEnded,
}

impl UnitOfWork for EndOtherSessions {
    type Outcome = Outcome;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Outcome>, Error> {
        if !live::check_alone(transaction, &self.caller, self.ending.at).await? {
            return Ok(End::Rollback(Outcome::CallerEnded));
        }
        let (user, kept) = (self.caller.user, self.caller.session);
        let ended = self.ending.end_others(transaction, user, kept).await?;
        Ok(End::Commit(Outcome::Ended(ended)))
    }
}
