//! How a row of `users_read` becomes a [`UserView`], for every slice that reads.

use super::{FromRow, Micros, Row};
use crate::domain::{UserId, UserView};

impl FromRow for UserView {
    fn from_row(row: Row<'_>) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: UserId::new(row.get("id")?),
            name: row.get("name")?,
            email: row.get("email")?,
            display_name: row.get("display_name")?,
            created_at: row.get::<Micros>("created_at")?.0,
        })
    }
}
