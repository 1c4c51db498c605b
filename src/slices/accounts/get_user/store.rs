//! The query of the slice.

#[cfg(test)]
mod contract;

use uuid::Uuid;

use crate::domain::{StoreError, UserId};
use crate::platform::database::{Database, PointRead};
use crate::slices::user::{User, users_read};

static BY_ID: PointRead<Uuid, User> = PointRead::new(users_read!("WHERE id = $1"));

/// The user with this id, from the projection only; `None` if there is no such user.
///
/// # Errors
/// When the store is unavailable, or reports an error.
pub async fn by_id(database: &Database, id: UserId) -> Result<Option<User>, StoreError> {
    database.fetch_by_key(&BY_ID, id.as_uuid()).await
}
