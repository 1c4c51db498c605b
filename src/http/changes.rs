//! Changes that a caller makes: their circumstances, and the response to one that was not made.

use std::sync::Arc;

use super::authorization;
use super::operation::Call;
use super::problem::{Problem, ProblemType};
use crate::access::authenticator::Reason;
use crate::access::change::{Actor, Change, ChangeError};
use crate::dependencies::Dependencies;
use crate::domain::Permissions;
use crate::platform::clock::{Clock, Randomness};

/// The circumstances of changes that this instance makes.
pub struct Circumstances {
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
}

impl Circumstances {
    /// Of the instance with these dependencies.
    #[must_use]
    pub fn new(dependencies: &Dependencies) -> Self {
        Self {
            clock: Arc::clone(&dependencies.clock),
            randomness: Arc::clone(&dependencies.randomness),
        }
    }

    /// The circumstances of a change by this call, and what its caller may do.
    ///
    /// # Errors
    /// 500 if the operation is open to every caller, which none of administration is.
    pub fn of(&self, call: &Call) -> Result<(Change, Permissions), Problem> {
        let caller = call.caller.as_ref().ok_or_else(Problem::internal)?;
        let change = Change {
            caller: caller.user().cloned(),
            ..self.by(call, caller.actor())
        };
        Ok((change, caller.permissions()))
    }

    /// The circumstances of a change by this call of an actor who has another credential than a session,
    /// such as the token of a mail.
    #[must_use]
    pub fn by(&self, call: &Call, actor: Actor) -> Change {
        Change {
            actor,
            caller: None,
            at: self.clock.now(),
            correlation_id: call.context.correlation_id.clone(),
            network: call.context.network(),
            randomness: Arc::clone(&self.randomness),
        }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Revoked => authorization::invalid(Reason::Revoked),
            ChangeError::Store(error) => error.into(),
        }
    }
}

/// Refuses what cannot be done without a mail.
///
/// # Errors
/// 503 if this service sends none.
pub fn sends_mail(sends_mail: bool) -> Result<(), Problem> {
    let refusal = "This service sends no mails: its setting MAIL_URL says where they go.";
    sends_mail
        .then_some(())
        .ok_or_else(|| Problem::new(ProblemType::UNAVAILABLE, refusal))
}
