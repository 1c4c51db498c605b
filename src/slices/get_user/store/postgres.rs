//! The port on PostgreSQL.

use async_trait::async_trait;

use super::UserStore;
use crate::domain::{StoreError, UserId, UserView};
use crate::platform::database::PgReads;
use crate::platform::telemetry::spans::{System, statement};

pub(crate) const BY_ID: &str =
    "SELECT id, name, email, display_name, created_at FROM users_read WHERE id = $1";

pub struct Store {
    reads: PgReads,
}

impl Store {
    pub fn new(reads: PgReads) -> Self {
        Self { reads }
    }
}

#[async_trait]
impl UserStore for Store {
    async fn by_id(&self, id: UserId) -> Result<Option<UserView>, StoreError> {
        let mut connection = self.reads.acquire().await?;
        let found = sqlx::query_as(BY_ID)
            .bind(id.as_uuid())
            .fetch_optional(&mut *connection);
        Ok(statement(System::Postgres, "SELECT", "users_read", found).await?)
    }
}
