//! The port on SQLite.

use async_trait::async_trait;
use sqlx::types::Json;

use super::{Answers, NewAccount, SignupStore, Written};
use crate::domain::{Recording, StoreError, UserSignedUp};
use crate::platform::crash;
use crate::platform::database::records::{expired_meanwhile, sqlite as records};
use crate::platform::database::{SqlitePool, SqliteWriter, WriteTransaction};
use crate::platform::telemetry::spans::{System, statement, within_fallibly};

pub(crate) const INSERT_USER: &str = "INSERT INTO users \
     (id, name, email, email_canonical, password_hash, created_at, updated_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6) \
     ON CONFLICT (email_canonical) DO NOTHING";

pub(crate) const INSERT_USER_READ: &str = "INSERT INTO users_read \
     (id, name, email, email_canonical, display_name, created_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

pub(crate) const INSERT_EVENT: &str = "INSERT INTO user_events \
     (event_id, user_id, type, schema_version, occurred_at, correlation_id, payload) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

pub struct Store {
    writer: SqliteWriter,
}

impl Store {
    pub fn new(writer: SqliteWriter) -> Self {
        Self { writer }
    }
}

#[async_trait]
impl SignupStore for Store {
    async fn sign_up(
        &self,
        account: &NewAccount,
        recording: Option<&Recording<Answers>>,
    ) -> Result<Written, StoreError> {
        let (_place, pool) = self.writer.enter()?;
        Ok(within_fallibly("transaction", write(pool, account, recording)).await?)
    }
}

async fn write(
    pool: &SqlitePool,
    account: &NewAccount,
    recording: Option<&Recording<Answers>>,
) -> Result<Written, sqlx::Error> {
    let created_at = account.created_at.timestamp_micros();
    let mut transaction = WriteTransaction::begin(pool.acquire().await?).await?;
    crash::point("begun");
    if let Some(recording) = recording {
        let (claim, created) = (&recording.claim, &recording.answers.created);
        let now = account.created_at;
        if !records::claim(transaction.connection(), claim, created, now).await? {
            // Only then: within the transaction, what it claimed itself would be found.
            transaction.rollback().await?;
            let mut connection = pool.acquire().await?;
            let record = records::find(&mut connection, &claim.identities, now).await;
            connection.finish(&record);
            return record?
                .map(Written::NothingAlreadyAnswered)
                .ok_or_else(expired_meanwhile);
        }
    }
    crash::point("record-written");
    let inserted = sqlx::query(INSERT_USER)
        .bind(account.id.as_uuid())
        .bind(account.name.as_str())
        .bind(account.email.as_typed())
        .bind(account.email.canonical())
        .bind(account.password_hash.as_str())
        .bind(created_at)
        .execute(transaction.connection());
    let users = statement(System::Sqlite, "INSERT", "users", inserted).await?;
    crash::point("users-written");
    if users.rows_affected() == 0 {
        match recording {
            None => transaction.rollback().await?,
            Some(Recording { claim, answers }) => {
                let taken = &answers.email_taken;
                records::answer(transaction.connection(), claim, taken).await?;
                transaction.commit().await?;
            }
        }
        return Ok(Written::NothingEmailTaken);
    }
    let inserted = sqlx::query(INSERT_USER_READ)
        .bind(account.id.as_uuid())
        .bind(account.name.as_str())
        .bind(account.email.as_typed())
        .bind(account.email.canonical())
        .bind(account.display_name.as_str())
        .bind(created_at)
        .execute(transaction.connection());
    statement(System::Sqlite, "INSERT", "users_read", inserted).await?;
    crash::point("users-read-written");
    let inserted = sqlx::query(INSERT_EVENT)
        .bind(account.event_id)
        .bind(account.id.as_uuid())
        .bind(UserSignedUp::TYPE)
        .bind(UserSignedUp::SCHEMA_VERSION)
        .bind(created_at)
        .bind(account.correlation_id.as_str())
        .bind(Json(account.event()))
        .execute(transaction.connection());
    statement(System::Sqlite, "INSERT", "user_events", inserted).await?;
    crash::point("event-written");
    transaction.commit().await?;
    crash::point("committed");
    Ok(Written::Account)
}
