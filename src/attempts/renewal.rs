//! Hashing a password again when its stored hash has a lower cost than new ones, or was imported in another
//! format.
//!
//! Only a login knows the password, so this is the only way to the new cost and format. It never lowers a
//! cost: instances with different settings would undo each other's.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::dependencies::Dependencies;
use crate::domain::{Candidate, PresentedPassword, StoreError, UserId};
use crate::hashing::{Class, HashError, PasswordHasher, StoredHash};
use crate::platform::clock::Clock;
use crate::platform::database::{Database, Statement};
use crate::platform::errors::error_chain;
use crate::platform::metrics::{HashedAgain, Metrics};
use crate::platform::tasks::Tasks;

/// Nothing but the hash changes: links and tokens that depend on a change of the password stay valid.
static REPLACE: Statement = Statement::new(
    "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2 RETURNING id",
);

/// What hashing again takes.
pub struct Renewal {
    database: Database,
    hasher: Arc<dyn PasswordHasher>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    metrics: Metrics,
    /// The cost of new hashes.
    cost: u32,
    /// How long a hash may take.
    time: Duration,
}

impl Renewal {
    pub fn new(dependencies: &Dependencies) -> Self {
        Self {
            database: dependencies.database.clone(),
            hasher: Arc::clone(&dependencies.hasher),
            clock: Arc::clone(&dependencies.clock),
            tasks: dependencies.lifecycle.tasks().clone(),
            metrics: dependencies.metrics.clone(),
            cost: dependencies.settings.hashing.cost,
            time: dependencies.settings.http.request_timeout,
        }
    }

    /// Replaces a stored hash of a lower cost or another format, in a task of its own, if a lane is free.
    pub fn renew(self: &Arc<Self>, user: UserId, stored: String, password: PresentedPassword) {
        if StoredHash::parse(&stored).is_none_or(|hash| hash.is_current(self.cost)) {
            return;
        }
        if !self.hasher.has_free_lane() {
            self.metrics.hashed_again(HashedAgain::Busy);
            return;
        }
        let this = Arc::clone(self);
        let work = async move {
            let outcome = this.replace(user, stored, password).await;
            this.metrics.hashed_again(outcome);
        };
        drop(self.tasks.spawn(work));
    }

    async fn replace(
        &self,
        user: UserId,
        stored: String,
        password: PresentedPassword,
    ) -> HashedAgain {
        let deadline = self.clock.instant() + self.time;
        let password = Candidate::verified(password);
        let hashing = self.hasher.hash(password, Class::Account, None, deadline);
        let hash = match hashing.await {
            Ok(hash) => hash,
            Err(HashError::Failed | HashError::Guessable(_)) => return HashedAgain::Failed,
            Err(_) => return HashedAgain::Busy,
        };
        let parameters = (user.as_uuid(), stored, hash.as_str().to_owned());
        let rows: Result<Vec<(Uuid,)>, StoreError> =
            self.database.write_one(&REPLACE, parameters).await;
        match rows {
            Ok(rows) if rows.is_empty() => HashedAgain::Changed,
            Ok(_) => HashedAgain::Done,
            Err(error) => {
                tracing::warn!(reason = error_chain(&error), "password hash not replaced");
                HashedAgain::Failed
            }
        }
    }
}
