//! The port on SQLite.

use async_trait::async_trait;

use super::UserStore;
use crate::domain::{StoreError, UserId, UserView};
use crate::platform::database::SqlitePool;

pub(crate) const BY_ID: &str =
    "SELECT id, name, email, display_name, created_at FROM users_read WHERE id = ?1";

pub struct Store {
    reads: SqlitePool,
}

impl Store {
    pub fn new(reads: SqlitePool) -> Self {
        Self { reads }
    }
}

#[async_trait]
impl UserStore for Store {
    async fn by_id(&self, id: UserId) -> Result<Option<UserView>, StoreError> {
        let query = sqlx::query_as(BY_ID).bind(id.as_uuid());
        Ok(self.reads.fetch_all("users_read", query).await?.pop())
    }
}
