//! The query of the slice.

#[cfg(test)]
mod contract;

use chrono::{DateTime, Utc};

use crate::domain::{StoreError, UserId};
use crate::platform::database::{Database, Error, FromRow, Micros, Row, Statement};
use crate::slices::user::User;

/// The caller's own account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// What others with a permission see, too.
    pub user: User,
    /// Whether the user has proved to own the address.
    pub email_verified: bool,
    /// `active` or `suspended`.
    pub status: String,
    /// The roles that were granted, in order; every user has the role `user` beside them.
    pub roles: Vec<String>,
    /// When the account was last changed, to the microsecond; `None` if never.
    pub updated_at: Option<DateTime<Utc>>,
}

impl FromRow for Account {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        let roles: Option<String> = row.get("roles")?;
        let mut roles: Vec<String> = roles
            .iter()
            .flat_map(|roles| roles.split(' '))
            .map(str::to_owned)
            .collect();
        roles.sort_unstable();
        let updated_at: Option<Micros> = row.get("updated_at")?;
        Ok(Self {
            user: User::from_row(row)?,
            email_verified: row.get("email_verified")?,
            status: row.get("status")?,
            roles,
            updated_at: updated_at.map(|time| time.0),
        })
    }
}

static BY_ID: Statement = Statement::new(
    "SELECT id, name, email, display_name, created_at, email_verified, status, updated_at, \
     (SELECT string_agg(r.role, ' ') FROM user_roles r WHERE r.user_id = users_read.id) AS roles \
     FROM users_read WHERE id = $1",
);

/// The account of this user, from the projection and the roles; `None` if there is none. It is read
/// from the primary: a user who has just signed up or changed something sees it.
///
/// # Errors
/// When the store is unavailable, or reports an error.
pub async fn by_id(database: &Database, id: UserId) -> Result<Option<Account>, StoreError> {
    database.fetch_latest(&BY_ID, (id.as_uuid(),)).await
}
