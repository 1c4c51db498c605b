//! The command: hashes the password, then writes once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::store::{NewAccount, Outcome, SignupStore};
use crate::domain::{Candidate, Email, Locale, Name, UserId};
use crate::hashing::{Class, HashError, PasswordHasher};
use crate::idempotency::{self, Execution, Recorded};
use crate::mail::queue::{Kind, NewMail};
use crate::mail::seal;
use crate::platform::client::Network;
use crate::platform::clock::{self, Clock, Randomness, uuid_v7};
use crate::slices::accounts::new_account::FirstMail;
use crate::tokens::one_time::Use;
use crate::tokens::secrets::TokenSecrets;

/// The unit of time in which a signup that does not say whether the address has an account responds after its hash.
/// A free address has some more rows to write than a taken one: a millisecond or two. Nearly every write ends within
/// the first unit, whatever the address; beside the hash, which takes some 200 ms, it is short.
const STEP: Duration = Duration::from_millis(50);

/// By how much a timer may be late: it is rounded up to milliseconds twice.
const TIMER: Duration = Duration::from_millis(2);

/// Creates an account. It has no `Debug`, as it carries a password.
pub struct SignUp {
    /// The user's name.
    pub name: Name,
    /// The user's display name.
    pub display_name: Name,
    /// The user's language.
    pub locale: Option<Locale>,
    /// The user's address.
    pub email: Email,
    /// The user's password. Whether it is guessable is found out when it is hashed.
    pub password: Candidate,
    /// The network whose share of hashing it uses.
    pub client: Option<Network>,
    /// The correlation id, for the event.
    pub correlation_id: String,
    /// When the response is due.
    pub deadline: Instant,
}

/// A signup that failed, or whose outcome is unknown.
#[derive(Debug, thiserror::Error)]
pub enum SignUpError {
    /// The password was not hashed, as it is guessable or for lack of time; nothing was written.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The write failed, or its key belongs to another request; it may have been written all the
    /// same.
    #[error(transparent)]
    Write(#[from] idempotency::Error),
}

/// Handles [`SignUp`].
pub struct SignUpHandler {
    /// The password hasher.
    pub hasher: Arc<dyn PasswordHasher>,
    /// The store of accounts.
    pub store: SignupStore,
    /// The clock for the time of creation.
    pub clock: Arc<dyn Clock>,
    /// The source of ids.
    pub randomness: Arc<dyn Randomness>,
    /// Whether a mail verifies the address.
    pub verifies: bool,
    /// Seals the address of a mail to one that has an account; `None` if the response says so.
    pub uniform: Option<Arc<TokenSecrets>>,
    /// The part of a request's time that is reserved for the write: the hash must end that much
    /// earlier.
    pub write_reserve: Duration,
}

impl SignUpHandler {
    /// Whether the password of a signup by this client with this deadline would be hashed.
    ///
    /// # Errors
    /// The reason for which it would be refused.
    pub fn admits(&self, client: Option<Network>, deadline: Instant) -> Result<(), SignUpError> {
        let deadline = self.hash_deadline(deadline);
        Ok(self.hasher.admits(Class::Signup, client, deadline)?)
    }

    fn hash_deadline(&self, deadline: Instant) -> Instant {
        deadline.checked_sub(self.write_reserve).unwrap_or(deadline)
    }

    /// Creates the account, completely or not at all.
    ///
    /// A taken address is detected by the write itself, after the hash: so it takes the same time
    /// as a free one, and a race has one winner.
    ///
    /// # Errors
    /// See [`SignUpError`].
    pub async fn handle(
        &self,
        command: SignUp,
        execution: Execution,
    ) -> Result<Recorded<Outcome>, SignUpError> {
        // If the client disconnects and this is dropped here, nothing has been written yet.
        let hash_deadline = self.hash_deadline(command.deadline);
        let hashing = self.hasher.hash(
            command.password,
            Class::Signup,
            command.client,
            hash_deadline,
        );
        let password_hash = hashing.await?;
        let hashed = clock::monotonic();

        let now = self.clock.now();
        let account = NewAccount {
            id: UserId::new(uuid_v7(now, self.randomness.as_ref())),
            event_id: uuid_v7(now, self.randomness.as_ref()),
            name: command.name,
            display_name: command.display_name,
            locale: command.locale,
            email: command.email,
            password_hash,
            created_at: now,
            correlation_id: command.correlation_id,
            actor: None,
            imported: None,
            verification: self.verifies.then(|| {
                let id = || uuid_v7(now, self.randomness.as_ref());
                FirstMail {
                    purpose: Use::Verify,
                    mail: id(),
                    token: id(),
                }
            }),
        };

        let taken = match &self.uniform {
            None => None,
            Some(secrets) => {
                let id = uuid_v7(now, self.randomness.as_ref());
                let sealed = seal(secrets, id, account.email.canonical());
                let sealed = sealed.ok_or(HashError::Failed)?;
                Some(NewMail::to_address(id, Kind::SignupRequest, sealed, now))
            }
        };
        let recorded = self.store.sign_up(account, taken, execution).await?;
        // Before the wait: a line takes longer than none.
        if let Outcome::Created(user) = &recorded.outcome
            && !recorded.is_replay
        {
            tracing::info!(user_id = %user.id, "account created");
        }
        if self.uniform.is_some() {
            let now = clock::monotonic();
            let left = command.deadline.saturating_duration_since(now);
            wait_until(now + rest_of_step(now - hashed).min(left / 2)).await;
        }
        Ok(recorded)
    }
}

/// How long after a write that took this long the response is due: until the next multiple of [`STEP`]. So the
/// time of the write shows only if it passes a multiple.
fn rest_of_step(elapsed: Duration) -> Duration {
    let begun = elapsed.as_nanos() % STEP.as_nanos();
    STEP.saturating_sub(Duration::from_nanos(u64::try_from(begun).unwrap_or(0)))
}

/// Waits to the microsecond. A timer alone ends whole milliseconds after its thread fell idle, as that is how
/// `epoll_wait` counts: the fraction would be that of the write. So the end of the wait is spent asking the clock, beside
/// other tasks of the thread: a hundredth of what the hash took.
async fn wait_until(due: Instant) {
    let left = due.saturating_duration_since(clock::monotonic());
    tokio::time::sleep(left.saturating_sub(TIMER)).await;
    while clock::monotonic() < due {
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(0, 50_000)]
    #[case(2_000, 48_000)]
    #[case(49_999, 1)]
    #[case(50_000, 50_000)]
    #[case(130_000, 20_000)]
    fn a_response_is_due_at_the_next_multiple(#[case] elapsed: u64, #[case] rest: u64) {
        let found = rest_of_step(Duration::from_micros(elapsed));
        assert_eq!(found, Duration::from_micros(rest));
    }
}
