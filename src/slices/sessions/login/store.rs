//! The account of a login, and the writes of a session.

#[cfg(test)]
mod contract;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::access::history::{self, Circumstances};
use crate::attempts::throttle::{self, Subject};
use crate::domain::{SessionId, StoreError, UserId};
use crate::platform::database::{
    Database, End, Error, FromRow, Micros, Row, Statement, Transaction, UnitOfWork,
};
use crate::slices::sessions::auth_log::{self, Entry};
use crate::slices::sessions::end::Ending;
use crate::slices::sessions::session::{self, Session, sessions};
use crate::slices::user::User;
use crate::tokens::refresh::Nonce;
use crate::tokens::secrets::Mac;

/// Live sessions of a user. A further one ends the oldest.
pub const MAX_SESSIONS: usize = 50;

/// How long a login can be repeated with its key.
const REPEATABLE: TimeDelta = TimeDelta::minutes(10);

/// An account, as a login needs it.
#[derive(Clone)]
pub struct Account {
    /// The user.
    pub user: User,
    /// The stored hash; `!` if the account has no password.
    pub password_hash: String,
    /// Whether it is suspended.
    pub is_suspended: bool,
    /// Whether its address has been verified.
    pub is_verified: bool,
}

impl FromRow for Account {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        let status: String = row.get("status")?;
        let verified: Option<Micros> = row.get("email_verified_at")?;
        Ok(Self {
            user: User::from_row(row)?,
            password_hash: row.get("password_hash")?,
            is_suspended: status != "active",
            is_verified: verified.is_some(),
        })
    }
}

static ACCOUNT: Statement = Statement::new(
    "SELECT r.id, r.name, r.email, r.display_name, r.created_at, u.password_hash, u.status, \
     u.email_verified_at FROM users u JOIN users_read r ON r.id = u.id \
     WHERE u.email_canonical = $1",
);

/// The lock of the row makes a change of the password wait for the session, and end it; or the session
/// wait for the change, and not begin. Two logins of a user are one after the other, so that each counts
/// the sessions of all before. SQLite has one writer.
static INSERT_POSTGRES: Statement = Statement::new(
    "INSERT INTO sessions (id, user_id, nonce, rotated_at, created_at, last_used_at, auth_time, \
     idle_until, expires_at, login_key, amr, label, network) \
     SELECT $1, u.id, $2, $3, $3, $3, $3, $4, $5, $6, 'pwd', $7, $8 FROM users u \
     WHERE u.id = $9 AND u.password_hash = $10 AND u.status = 'active' \
     AND ($11 OR u.email_verified_at IS NOT NULL) FOR NO KEY UPDATE OF u \
     ON CONFLICT (login_key) DO NOTHING",
);

static INSERT_SQLITE: Statement = Statement::new(
    "INSERT INTO sessions (id, user_id, nonce, rotated_at, created_at, last_used_at, auth_time, \
     idle_until, expires_at, login_key, amr, label, network) \
     SELECT $1, u.id, $2, $3, $3, $3, $3, $4, $5, $6, 'pwd', $7, $8 FROM users u \
     WHERE u.id = $9 AND u.password_hash = $10 AND u.status = 'active' \
     AND ($11 OR u.email_verified_at IS NOT NULL) \
     ON CONFLICT (login_key) DO NOTHING",
);

static BY_KEY: Statement = sessions!("JOIN users ON users.id = user_id WHERE login_key = $1");

static BEYOND: Statement = Statement::new(
    "SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND idle_until > $2 \
     ORDER BY created_at DESC, id DESC LIMIT 10 OFFSET 50",
);

/// A session to begin.
#[derive(Clone)]
pub struct NewSession {
    /// Its id.
    pub id: SessionId,
    /// What its refresh tokens are derived from, with a secret.
    pub nonce: Nonce,
    /// The user.
    pub user: UserId,
    /// The hash that the password was verified against.
    pub password_hash: String,
    /// Whether an address that was not verified is good enough.
    pub may_be_unverified: bool,
    /// When it begins.
    pub at: DateTime<Utc>,
    /// When it ends if it is not used.
    pub idle_until: DateTime<Utc>,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
    /// The keyed hash of the key of the login.
    pub login_key: Option<Mac>,
    /// The same under the previous secret: an earlier attempt may be from before a rotation.
    pub previous_login_key: Option<Mac>,
    /// What the user calls the device.
    pub label: Option<String>,
    /// Whose failures are forgotten.
    pub subject: Subject,
    /// The event of a password that is known from a breach.
    pub breached: Option<Circumstances>,
    /// The entry of the log; its network is the session's.
    pub entry: Entry,
    /// How sessions end that are too many.
    pub ending: Ending,
}

/// What became of a login.
#[derive(Debug, Clone)]
pub enum Begun {
    /// The session, and those that ended as there were too many.
    New(Session, Vec<SessionId>),
    /// The session that an earlier attempt with the same key began.
    Same(Session),
    /// The key was used by another login.
    KeyReused,
    /// The account has changed since the password was verified.
    Changed,
}

/// The store of logins.
pub struct LoginStore {
    database: Database,
}

impl LoginStore {
    /// Uses the accounts and sessions of this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// The account with this canonical address, from the primary.
    ///
    /// # Errors
    /// When the store is unavailable, or reports an error.
    pub async fn account(&self, address: String) -> Result<Option<Account>, StoreError> {
        self.database.fetch_latest(&ACCOUNT, (address,)).await
    }

    /// Begins a session, if the account still has the verified hash and may log in; with the entry of
    /// the log, and without the failures of the subject.
    ///
    /// # Errors
    /// When the outcome is not certain: a login with a key can be repeated.
    pub async fn begin(&self, new: NewSession) -> Result<Begun, StoreError> {
        self.database.write(Begin(new)).await
    }
}

struct Begin(NewSession);

impl UnitOfWork for Begin {
    type Outcome = Begun;

    /// The password was verified.
    const IS_PAID: bool = true;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Begun>, Error> {
        let Self(new) = self;
        if let Some(key) = new.previous_login_key {
            let found: Option<Session> =
                transaction.fetch_optional(&BY_KEY, (key.to_vec(),)).await?;
            if found.is_some() {
                return Ok(End::Rollback(self.repeated(found)));
            }
        }
        let insert = transaction.pick(&INSERT_POSTGRES, &INSERT_SQLITE);
        let row = (
            new.id.as_uuid(),
            new.nonce.to_vec(),
            Micros(new.at),
            Micros(new.idle_until),
            Micros(new.expires_at),
            new.login_key.map(Vec::from),
            new.label.as_deref(),
            new.entry.network.as_deref(),
            new.user.as_uuid(),
            new.password_hash.as_str(),
            new.may_be_unverified,
        );
        if transaction.execute(insert, row).await? == 0 {
            return self.repeat(transaction).await;
        }
        let ended = self.end_oldest(transaction).await?;
        let found = session::within(transaction, new.id).await?;
        throttle::clear(transaction, &new.subject).await?;
        if let Some(event) = &new.breached {
            history::append_breached(transaction, event).await?;
        }
        auth_log::append(transaction, &new.entry).await?;
        // It was inserted by this transaction.
        let begun = found.map_or(Begun::Changed, |session| Begun::New(session, ended));
        Ok(End::Commit(begun))
    }
}

impl Begin {
    /// The outcome when nothing was inserted: the key has a session, or the account has changed.
    async fn repeat(&self, transaction: &mut Transaction) -> Result<End<Begun>, Error> {
        let Some(key) = self.0.login_key else {
            return Ok(End::Rollback(Begun::Changed));
        };
        let found = transaction.fetch_optional(&BY_KEY, (key.to_vec(),)).await?;
        Ok(End::Rollback(self.repeated(found)))
    }

    fn repeated(&self, found: Option<Session>) -> Begun {
        match found {
            None => Begun::Changed,
            Some(session)
                if session.stored.generation.get() == 0
                    && session.stored.ended.is_none()
                    && self.0.at - session.created_at <= REPEATABLE =>
            {
                Begun::Same(session)
            }
            Some(_) => Begun::KeyReused,
        }
    }

    async fn end_oldest(&self, transaction: &mut Transaction) -> Result<Vec<SessionId>, Error> {
        let Self(new) = self;
        let beyond: Vec<(Uuid,)> = transaction
            .fetch_all(&BEYOND, (new.user.as_uuid(), Micros(new.at)))
            .await?;
        let mut ended = Vec::new();
        for (id,) in beyond {
            let session = SessionId::new(id);
            new.ending.end(transaction, session).await?;
            ended.push(session);
        }
        Ok(ended)
    }
}
