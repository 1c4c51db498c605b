//! Responses to passwords that were not verified or hashed.

use super::problem::{Problem, ProblemType};
use crate::attempts::AttemptError;
use crate::hashing::HashError;

impl From<AttemptError> for Problem {
    fn from(error: AttemptError) -> Self {
        match error {
            AttemptError::Throttled(wait) => {
                Self::from(ProblemType::LOGIN_THROTTLED).retry_after(wait)
            }
            AttemptError::Hash(error) => hash_problem(&error),
            AttemptError::Store(error) => error.into(),
        }
    }
}

/// The response to a password of an account that was not verified, or not hashed.
#[must_use]
pub fn hash_problem(error: &HashError) -> Problem {
    match *error {
        HashError::Overloaded { retry_after } => Problem::new(
            ProblemType::OVERLOADED,
            "Too many passwords are waiting. Nothing was done.",
        )
        .retry_after(retry_after),
        HashError::NetworkBusy { retry_after } => Problem::new(
            ProblemType::RATE_LIMITED,
            "Too many logins of this network are waiting. Nothing was done.",
        )
        .retry_after(retry_after),
        HashError::Guessable(_) | HashError::Failed => {
            tracing::error!("password verification failed");
            Problem::internal()
        }
        HashError::Stopped => Problem::unavailable(),
    }
}
