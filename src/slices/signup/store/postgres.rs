//! The port on PostgreSQL.

use async_trait::async_trait;
use sqlx::types::Json;

use super::{Answers, NewAccount, SignupStore, Written};
use crate::domain::{Recording, StoreError, UserSignedUp};
use crate::platform::crash;
use crate::platform::database::records::postgres as records;
use crate::platform::database::{PgPool, WriteTransaction, records as shared, wants_retry};
use crate::platform::metrics::Retry;
use crate::platform::telemetry::spans::{System, statement, within_fallibly};

pub(crate) const INSERT_USER: &str = "INSERT INTO users \
     (id, name, email, email_canonical, password_hash, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $6) \
     ON CONFLICT (email_canonical) DO NOTHING";

pub(crate) const INSERT_USER_READ: &str = "INSERT INTO users_read \
     (id, name, email, email_canonical, display_name, created_at) \
     VALUES ($1, $2, $3, $4, $5, $6)";

pub(crate) const INSERT_EVENT: &str = "INSERT INTO user_events \
     (event_id, user_id, type, schema_version, occurred_at, correlation_id, payload) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)";

/// Tries of a transaction that the server asks to run again.
const MAX_TRIES: u32 = 3;

pub struct Store {
    pool: PgPool,
}

impl Store {
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    async fn attempt(
        &self,
        account: &NewAccount,
        recording: Option<&Recording<Answers>>,
    ) -> Result<Written, sqlx::Error> {
        let mut transaction = WriteTransaction::begin(self.pool.acquire().await?).await?;
        crash::point("begun");
        if let Some(recording) = recording {
            let (claim, created) = (&recording.claim, &recording.answers.created);
            let now = account.created_at;
            if !records::claim(transaction.connection(), claim, created, now).await? {
                // Only then: within the transaction, what it claimed itself would be found.
                transaction.rollback().await?;
                let record = records::find(&self.pool, &claim.identities, now).await?;
                return record
                    .map(Written::NothingAlreadyAnswered)
                    .ok_or_else(shared::expired_meanwhile);
            }
        }
        crash::point("record-written");
        let inserted = sqlx::query(INSERT_USER)
            .bind(account.id.as_uuid())
            .bind(account.name.as_str())
            .bind(account.email.as_typed())
            .bind(account.email.canonical())
            .bind(account.password_hash.as_str())
            .bind(account.created_at)
            .execute(transaction.connection());
        let users = statement(System::Postgres, "INSERT", "users", inserted).await?;
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
        if crash::planted("read-model-outside") {
            transaction.commit().await?;
            crash::point("users-written");
            transaction = WriteTransaction::begin(self.pool.acquire().await?).await?;
        }
        let inserted = sqlx::query(INSERT_USER_READ)
            .bind(account.id.as_uuid())
            .bind(account.name.as_str())
            .bind(account.email.as_typed())
            .bind(account.email.canonical())
            .bind(account.display_name.as_str())
            .bind(account.created_at)
            .execute(transaction.connection());
        statement(System::Postgres, "INSERT", "users_read", inserted).await?;
        crash::point("users-read-written");
        let inserted = sqlx::query(INSERT_EVENT)
            .bind(account.event_id)
            .bind(account.id.as_uuid())
            .bind(UserSignedUp::TYPE)
            .bind(UserSignedUp::SCHEMA_VERSION)
            .bind(account.created_at)
            .bind(account.correlation_id.as_str())
            .bind(Json(account.event()))
            .execute(transaction.connection());
        statement(System::Postgres, "INSERT", "user_events", inserted).await?;
        crash::point("event-written");
        transaction.commit().await?;
        crash::point("committed");
        Ok(Written::Account)
    }
}

#[async_trait]
impl SignupStore for Store {
    async fn sign_up(
        &self,
        account: &NewAccount,
        recording: Option<&Recording<Answers>>,
    ) -> Result<Written, StoreError> {
        if crash::planted("answer-after-commit")
            && let Some(Recording { claim, answers }) = recording
        {
            let written = self.attempt(account, None).await?;
            let mut connection = self.pool.acquire().await?;
            records::claim(&mut connection, claim, &answers.created, account.created_at).await?;
            return Ok(written);
        }
        let recording = recording.filter(|_| !crash::planted("record-only-in-redis"));
        let mut tries = 1;
        loop {
            let attempt = self.attempt(account, recording);
            let result = within_fallibly("transaction", attempt).await;
            match result.as_ref().err().and_then(wants_retry) {
                Some(reason) if tries < MAX_TRIES => {
                    if reason == Retry::StalePlan {
                        self.pool.forget_plans();
                    }
                    self.pool.retried(reason);
                    tries += 1;
                }
                _ => return Ok(result?),
            }
        }
    }
}
