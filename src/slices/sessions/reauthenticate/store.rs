//! The account of a session, and the write of a reauthentication.

#[cfg(test)]
mod contract;

use crate::attempts::throttle::{self, Subject};
use crate::domain::{SessionId, StoreError, UserId};
use crate::platform::database::{Database, End, Error, Micros, Statement, Transaction, UnitOfWork};
use crate::slices::sessions::auth_log::{self, Entry};
use crate::slices::sessions::session::{self, Session};

/// The address and the hash of an account.
pub struct Account {
    /// The canonical address.
    pub address: String,
    /// The stored hash; `!` if the account has no password.
    pub password_hash: String,
}

static ACCOUNT: Statement =
    Statement::new("SELECT email_canonical, password_hash FROM users WHERE id = $1");

static FRESH: Statement = Statement::new(
    "UPDATE sessions SET auth_time = $2 WHERE id = $1 AND ended_at IS NULL \
     AND idle_until > $2 AND expires_at > $2 \
     AND EXISTS (SELECT 1 FROM users u WHERE u.id = sessions.user_id AND u.status = 'active' \
     AND u.password_hash = $3)",
);

/// The store of reauthentications.
pub struct ReauthenticateStore {
    database: Database,
}

impl ReauthenticateStore {
    /// Uses the accounts and sessions of this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// The account of a user, from the primary.
    ///
    /// # Errors
    /// When the store is unavailable, or reports an error.
    pub async fn account(&self, user: UserId) -> Result<Option<Account>, StoreError> {
        let found: Option<(String, String)> = self
            .database
            .fetch_latest(&ACCOUNT, (user.as_uuid(),))
            .await?;
        Ok(found.map(|(address, password_hash)| Account {
            address,
            password_hash,
        }))
    }

    /// Records that the password was sent, if the session is live and the hash is still the
    /// account's; with the entry of the log, and without the failures of the subject. Returns the
    /// session then.
    ///
    /// # Errors
    /// When the outcome is not certain.
    pub async fn refreshed(
        &self,
        session: SessionId,
        password_hash: String,
        subject: Subject,
        entry: Entry,
    ) -> Result<Option<Session>, StoreError> {
        let work = Reauthenticate {
            session,
            password_hash,
            subject,
            entry,
        };
        self.database.write(work).await
    }
}

struct Reauthenticate {
    session: SessionId,
    password_hash: String,
    subject: Subject,
    entry: Entry,
}

impl UnitOfWork for Reauthenticate {
    type Outcome = Option<Session>;

    /// The password was verified.
    const IS_PAID: bool = true;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Option<Session>>, Error> {
        let (at, hash) = (Micros(self.entry.at), self.password_hash.as_str());
        let row = (self.session.as_uuid(), at, hash);
        if transaction.execute(&FRESH, row).await? == 0 {
            return Ok(End::Rollback(None));
        }
        let session = session::within(transaction, self.session).await?;
        throttle::clear(transaction, &self.subject).await?;
        auth_log::append(transaction, &self.entry).await?;
        Ok(End::Commit(session))
    }
}
