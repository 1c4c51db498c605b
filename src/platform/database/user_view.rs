//! How a row of `users_read` becomes a [`UserView`], for every slice that reads.

use chrono::DateTime;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row};

use crate::domain::{UserId, UserView};

impl FromRow<'_, PgRow> for UserView {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: UserId::new(row.try_get("id")?),
            name: row.try_get("name")?,
            email: row.try_get("email")?,
            display_name: row.try_get("display_name")?,
            created_at: row.try_get("created_at")?,
        })
    }
}

impl FromRow<'_, SqliteRow> for UserView {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let micros: i64 = row.try_get("created_at")?;
        let created_at =
            DateTime::from_timestamp_micros(micros).ok_or_else(|| sqlx::Error::ColumnDecode {
                index: "created_at".to_owned(),
                source: "out of range".into(),
            })?;
        Ok(Self {
            id: UserId::new(row.try_get("id")?),
            name: row.try_get("name")?,
            email: row.try_get("email")?,
            display_name: row.try_get("display_name")?,
            created_at,
        })
    }
}
