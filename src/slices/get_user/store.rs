//! What the slice reads.

#[cfg(test)]
mod contract;

use crate::domain::{StoreError, UserId, UserView};
use crate::platform::database::{Database, Statement};

static BY_ID: Statement = Statement::new(
    "SELECT id, name, email, display_name, created_at FROM users_read WHERE id = $1",
);

/// The user with this id, from the projection only; `None` where there is no such user.
///
/// # Errors
/// When the store can't tell.
pub async fn by_id(database: &Database, id: UserId) -> Result<Option<UserView>, StoreError> {
    database.fetch_optional(&BY_ID, (id.as_uuid(),)).await
}
