//! Rows of users and sessions, written directly.

use chrono::{DateTime, TimeDelta};
use uuid::Uuid;

use crate::config::Backend;
use crate::domain::SessionId;
use crate::platform::database::testing::TestDatabase;

/// When users and sessions were made, in seconds since 1970.
pub const NOW: i64 = 1_700_000_000;

/// Inserts a user with a session. Both have this number as their id.
pub async fn new_session(test: &TestDatabase, number: u128) -> SessionId {
    let id = Uuid::from_u128(number);
    let now = DateTime::from_timestamp(NOW, 0).expect("in range");
    let time = |time: DateTime<chrono::Utc>| match test.backend {
        Backend::Sqlite => time.timestamp_micros().to_string(),
        Backend::Postgres => format!("'{}'", time.to_rfc3339()),
    };
    let nonce = "07".repeat(16);
    let (literal, nonce) = match test.backend {
        Backend::Sqlite => (format!("x'{}'", id.simple()), format!("x'{nonce}'")),
        Backend::Postgres => (format!("'{id}'"), format!("'\\x{nonce}'")),
    };
    let (at, idle, end) = (
        time(now),
        time(now + TimeDelta::days(7)),
        time(now + TimeDelta::days(30)),
    );
    test.sql(&format!(
        "INSERT INTO users (id, name, email, email_canonical, password_hash, created_at, updated_at) \
         VALUES ({literal}, 'Ada', 'ada{number}@example.org', 'ada{number}@example.org', '!', {at}, {at})"
    ))
    .await;
    test.sql(&format!(
        "INSERT INTO sessions (id, user_id, nonce, rotated_at, created_at, last_used_at, idle_until, \
         expires_at, auth_time, amr) \
         VALUES ({literal}, {literal}, {nonce}, {at}, {at}, {at}, {idle}, {end}, {at}, 'pwd')"
    ))
    .await;
    SessionId::new(id)
}
