//! Rows of users and sessions, written directly.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::end::Ending;
use crate::access::UserCaller;
use crate::config::Backend;
use crate::domain::{EndReason, Permissions, SessionId, TokenEpoch, UserId};
use crate::platform::clock::SystemRandomness;
use crate::platform::database::testing::TestDatabase;

/// When users and sessions were made, in seconds since 1970.
pub const NOW: i64 = 1_700_000_000;

/// The ending of a session by a request of a test.
pub fn ending(reason: EndReason) -> Ending {
    Ending {
        reason,
        action: "test",
        actor: "user",
        network: Some("192.0.2.0/24".to_owned()),
        correlation_id: "correlation".to_owned(),
        at: DateTime::from_timestamp(NOW, 0).expect("in range"),
        sends_mail: true,
        randomness: Arc::new(SystemRandomness),
    }
}

/// A user who calls with a token of this session.
pub fn caller(user: u128, session: SessionId) -> UserCaller {
    UserCaller {
        user: UserId::new(Uuid::from_u128(user)),
        session,
        auth_time: DateTime::UNIX_EPOCH,
        epoch: TokenEpoch::default(),
        permissions: Permissions::NONE,
    }
}

/// An id as an SQL literal.
pub fn uuid(test: &TestDatabase, number: u128) -> String {
    let id = Uuid::from_u128(number);
    match test.backend {
        Backend::Sqlite => format!("x'{}'", id.simple()),
        Backend::Postgres => format!("'{id}'"),
    }
}

/// A time as an SQL literal.
pub fn time(test: &TestDatabase, time: DateTime<Utc>) -> String {
    match test.backend {
        Backend::Sqlite => time.timestamp_micros().to_string(),
        Backend::Postgres => format!("'{}'", time.to_rfc3339()),
    }
}

/// Inserts a user with a session. Both have this number as their id.
pub async fn new_session(test: &TestDatabase, number: u128) -> SessionId {
    let at = DateTime::from_timestamp(NOW, 0).expect("in range");
    let (id, at) = (uuid(test, number), time(test, at));
    test.sql(&format!(
        "INSERT INTO users (id, name, email, email_canonical, password_hash, created_at, updated_at) \
         VALUES ({id}, 'Ada', 'ada{number}@example.org', 'ada{number}@example.org', '!', {at}, {at})"
    ))
    .await;
    another_session(test, number, number).await
}

/// Inserts a session of a user, with these numbers as their ids.
pub async fn another_session(test: &TestDatabase, user: u128, number: u128) -> SessionId {
    let now = DateTime::from_timestamp(NOW, 0).expect("in range");
    let nonce = "07".repeat(16);
    let nonce = match test.backend {
        Backend::Sqlite => format!("x'{nonce}'"),
        Backend::Postgres => format!("'\\x{nonce}'"),
    };
    let (user, id) = (uuid(test, user), uuid(test, number));
    let [at, idle, end] = [0, 7, 30].map(|days| time(test, now + TimeDelta::days(days)));
    test.sql(&format!(
        "INSERT INTO sessions (id, user_id, nonce, rotated_at, created_at, last_used_at, idle_until, \
         expires_at, auth_time, amr) \
         VALUES ({id}, {user}, {nonce}, {at}, {at}, {at}, {idle}, {end}, {at}, 'pwd')"
    ))
    .await;
    SessionId::new(Uuid::from_u128(number))
}
