//! How a store fails, as far as its callers need to tell.

use std::error::Error;

type Source = Box<dyn Error + Send + Sync>;

/// A store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store can't be reached, is too busy, or went away in the middle. What was asked may
    /// or may not have happened; asking again later is right.
    #[error("the store cannot be reached or did not answer in time")]
    Unavailable(#[source] Source),
    /// The store answered, and the answer makes no sense: a defect here or damage there.
    #[error("the store gave an answer that makes no sense")]
    Broken(#[source] Source),
}

impl StoreError {
    /// An [`StoreError::Unavailable`] with its reason, which goes to the log only.
    pub fn unavailable(reason: impl Into<Source>) -> Self {
        Self::Unavailable(reason.into())
    }

    /// A [`StoreError::Broken`] with its reason, which goes to the log only.
    pub fn broken(reason: impl Into<Source>) -> Self {
        Self::Broken(reason.into())
    }
}
