//! The port on SQLite.

use async_trait::async_trait;

use super::{Page, Position, UserDirectory};
use crate::domain::{Email, StoreError, UserView};
use crate::platform::database::SqlitePool;

pub(crate) const BY_EMAIL: &str = "SELECT id, name, email, display_name, created_at \
     FROM users_read WHERE email_canonical = ?1";

pub(crate) const FIRST_PAGE: &str = "SELECT id, name, email, display_name, created_at \
     FROM users_read ORDER BY created_at DESC, id DESC LIMIT ?1";

pub(crate) const NEXT_PAGE: &str = "SELECT id, name, email, display_name, created_at \
     FROM users_read WHERE (created_at, id) < (?2, ?3) \
     ORDER BY created_at DESC, id DESC LIMIT ?1";

pub struct Store {
    reads: SqlitePool,
}

impl Store {
    pub fn new(reads: SqlitePool) -> Self {
        Self { reads }
    }
}

#[async_trait]
impl UserDirectory for Store {
    async fn by_email(&self, email: &Email) -> Result<Option<UserView>, StoreError> {
        let query = sqlx::query_as(BY_EMAIL).bind(email.canonical());
        Ok(self.reads.fetch_all("users_read", query).await?.pop())
    }

    async fn page(&self, limit: u32, after: Option<Position>) -> Result<Page, StoreError> {
        let one_more = i64::from(limit) + 1;
        let query = match after {
            None => sqlx::query_as(FIRST_PAGE).bind(one_more),
            Some(position) => sqlx::query_as(NEXT_PAGE)
                .bind(one_more)
                .bind(position.created_at.timestamp_micros())
                .bind(position.id.as_uuid()),
        };
        let users = self.reads.fetch_many("users_read", query).await?;
        Ok(Page::of_one_more(users, limit))
    }
}
