//! How a store fails, in the terms that its callers need.

use std::error::Error;
use std::sync::Arc;

type Source = Arc<dyn Error + Send + Sync>;

/// A failed store operation.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The store is unavailable, too busy, or failed in the middle. The operation may or may not
    /// have taken effect; retrying later is right.
    #[error("the store is unavailable or did not respond in time")]
    Unavailable(#[source] Source),
    /// The store responded with something invalid: a defect in this code, or damaged data.
    #[error("the store returned an invalid response")]
    Broken(#[source] Source),
}

impl StoreError {
    /// An [`StoreError::Unavailable`] with its reason, which goes to the log only.
    pub fn unavailable(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable(Source::from(reason.into()))
    }

    /// A [`StoreError::Broken`] with its reason, which goes to the log only.
    pub fn broken(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Broken(Source::from(reason.into()))
    }
}
