//! What a signup writes.

#[cfg(test)]
mod contract;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::{
    Answer, Email, Name, PasswordHash, Record, Recording, StoreError, UserId, UserSignedUp,
    UserView,
};
use crate::platform::database::records::{self, Records};
use crate::platform::database::{
    Database, End, Error, Json, Micros, Statement, Transaction, UnitOfWork,
};

/// Everything that commits together.
#[derive(Clone)]
pub struct NewAccount {
    /// The account's id.
    pub id: UserId,
    /// The event's id.
    pub event_id: Uuid,
    /// The user's name.
    pub name: Name,
    /// What to call the user.
    pub display_name: Name,
    /// The user's address.
    pub email: Email,
    /// What is kept of the password.
    pub password_hash: PasswordHash,
    /// When the account was made, in whole microseconds.
    pub created_at: DateTime<Utc>,
    /// What the request is part of.
    pub correlation_id: String,
}

impl NewAccount {
    /// The event, for the history.
    fn event(&self) -> UserSignedUp<'_> {
        UserSignedUp {
            id: self.id.to_string(),
            name: self.name.as_str(),
            email: self.email.as_typed(),
            display_name: self.display_name.as_str(),
        }
    }

    /// The user, as the projection will have it.
    pub(super) fn view(&self) -> UserView {
        UserView {
            id: self.id,
            name: self.name.as_str().to_owned(),
            email: self.email.as_typed().to_owned(),
            display_name: self.display_name.as_str().to_owned(),
            created_at: self.created_at,
        }
    }
}

/// The answers to a signup, one of which its record keeps.
#[derive(Clone)]
pub struct Answers {
    /// The account was made.
    pub created: Answer,
    /// The address has an account.
    pub email_taken: Answer,
}

/// What a store wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// The account, its row in the projection and its event.
    Account,
    /// Nothing but the record: the canonical address has an account.
    NothingEmailTaken,
    /// Nothing: the key has a record, which is this.
    NothingAlreadyAnswered(Record),
}

static INSERT_USER: Statement = Statement::new(
    "INSERT INTO users (id, name, email, email_canonical, password_hash, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (email_canonical) DO NOTHING",
);

static INSERT_USER_READ: Statement = Statement::new(
    "INSERT INTO users_read (id, name, email, email_canonical, display_name, created_at) \
     VALUES ($1, $2, $3, $4, $5, $6)",
);

static INSERT_EVENT: Statement = Statement::new(
    "INSERT INTO user_events \
     (event_id, user_id, type, schema_version, occurred_at, correlation_id, payload) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)",
);

/// Keeps accounts.
pub struct SignupStore {
    database: Database,
}

impl SignupStore {
    /// The accounts of this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// Writes the record, where there is one to keep, and one row each of `users`, `users_read` and
    /// `user_events`, in one transaction and in this lock order.
    ///
    /// It
    /// - writes all three rows or none, whatever fails and whenever the future is dropped;
    /// - returns [`Written::NothingEmailTaken`] exactly when the canonical address has an account, also
    ///   when it lost a race for it;
    /// - keeps in the record the answer to what it wrote, and writes it in the same transaction, also
    ///   where the address has an account;
    /// - returns [`Written::NothingAlreadyAnswered`] and writes nothing where the claim has a record
    ///   that has not expired, also when it lost a race for it;
    /// - has made it durable before it returns;
    /// - returns within a bounded time.
    ///
    /// # Errors
    /// Where the outcome is not certain, an error: it may then have been written.
    pub async fn sign_up(
        &self,
        account: NewAccount,
        recording: Option<Recording<Answers>>,
    ) -> Result<Written, StoreError> {
        let now = account.created_at;
        let identities = recording
            .as_ref()
            .map(|recording| recording.claim.identities.clone());
        let signup = SignUp { account, recording };
        if let Some(written) = self.database.write(signup).await? {
            return Ok(written);
        }
        // Only then: within the transaction, what it claimed itself would be found.
        let records = Records::new(self.database.clone());
        let record = records.find(&identities.unwrap_or_default(), now).await?;
        record
            .map(Written::NothingAlreadyAnswered)
            .ok_or_else(|| records::expired_meanwhile().into())
    }
}

/// The rows of one signup.
struct SignUp {
    account: NewAccount,
    recording: Option<Recording<Answers>>,
}

impl UnitOfWork for SignUp {
    /// `None` where the key has a record.
    type Outcome = Option<Written>;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Option<Written>>, Error> {
        let (account, email) = (&self.account, &self.account.email);
        let (id, name) = (account.id.as_uuid(), account.name.as_str());
        let created_at = Micros(account.created_at);
        if let Some(Recording { claim, answers }) = &self.recording {
            let (created, now) = (&answers.created, account.created_at);
            if !records::claim(transaction, claim, created, now).await? {
                return Ok(End::Rollback(None));
            }
        }
        let user = (
            id,
            name,
            email.as_typed(),
            email.canonical(),
            account.password_hash.as_str(),
            created_at,
        );
        if transaction.execute(&INSERT_USER, user).await? == 0 {
            let taken = Some(Written::NothingEmailTaken);
            let Some(Recording { claim, answers }) = &self.recording else {
                return Ok(End::Rollback(taken));
            };
            records::answer(transaction, claim, &answers.email_taken).await?;
            return Ok(End::Commit(taken));
        }
        let user_read = (
            id,
            name,
            email.as_typed(),
            email.canonical(),
            account.display_name.as_str(),
            created_at,
        );
        transaction.execute(&INSERT_USER_READ, user_read).await?;
        let event = (
            account.event_id,
            id,
            UserSignedUp::TYPE,
            UserSignedUp::SCHEMA_VERSION,
            created_at,
            account.correlation_id.as_str(),
            Json(account.event()),
        );
        transaction.execute(&INSERT_EVENT, event).await?;
        Ok(End::Commit(Some(Written::Account)))
    }
}
