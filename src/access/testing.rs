//! Rows of users and sessions, written directly; and changes of them.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::change::{Actor, Change};
use crate::config::Backend;
use crate::domain::UserId;
use crate::platform::clock::SystemRandomness;
use crate::platform::database::testing::TestDatabase;

/// When changes are made.
pub fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).expect("in range")
}

/// A change by the command line.
pub fn change() -> Change {
    Change {
        actor: Actor::Cli,
        caller: None,
        at: now(),
        correlation_id: "correlation".to_owned(),
        network: None,
        randomness: Arc::new(SystemRandomness),
    }
}

/// A user's id as an SQL literal.
pub fn literal(test: &TestDatabase, user: UserId) -> String {
    let id = user.as_uuid();
    match test.backend {
        Backend::Sqlite => format!("x'{}'", id.simple()),
        Backend::Postgres => format!("'{id}'"),
    }
}

fn time(test: &TestDatabase, time: DateTime<Utc>) -> String {
    match test.backend {
        Backend::Sqlite => time.timestamp_micros().to_string(),
        Backend::Postgres => format!("'{}'", time.to_rfc3339()),
    }
}

/// Inserts a user, with this number as its id and these roles.
pub async fn new_user(test: &TestDatabase, number: u128, roles: &[&str]) -> UserId {
    let user = UserId::new(Uuid::from_u128(number));
    let (id, at) = (literal(test, user), time(test, now()));
    let email = format!("'ada{number}@example.org'");
    test.sql(&format!(
        "INSERT INTO users (id, name, email, email_canonical, password_hash, created_at, updated_at) \
         VALUES ({id}, 'Ada', {email}, {email}, '!', {at}, {at})"
    ))
    .await;
    test.sql(&format!(
        "INSERT INTO users_read (id, name, email, email_canonical, display_name, created_at) \
         VALUES ({id}, 'Ada', {email}, {email}, 'Ada', {at})"
    ))
    .await;
    for role in roles {
        test.sql(&format!(
            "INSERT INTO user_roles (user_id, role, granted_by, granted_at) \
             VALUES ({id}, '{role}', 'cli', {at})"
        ))
        .await;
    }
    user
}

/// Inserts a session of a user, with this number as its id.
pub async fn new_session(test: &TestDatabase, user: UserId, number: u128) {
    let id = literal(test, UserId::new(Uuid::from_u128(number)));
    let user = literal(test, user);
    let nonce = "07".repeat(16);
    let nonce = match test.backend {
        Backend::Sqlite => format!("x'{nonce}'"),
        Backend::Postgres => format!("'\\x{nonce}'"),
    };
    let (at, end) = (time(test, now()), time(test, now() + TimeDelta::days(7)));
    test.sql(&format!(
        "INSERT INTO sessions (id, user_id, nonce, rotated_at, created_at, last_used_at, idle_until, \
         expires_at, auth_time, amr) \
         VALUES ({id}, {user}, {nonce}, {at}, {at}, {at}, {end}, {end}, {at}, 'pwd')"
    ))
    .await;
}

/// The number of rows that a query counts.
pub async fn count(test: &TestDatabase, of: &str) -> String {
    let query = format!("SELECT CAST(count(*) AS TEXT) FROM {of}");
    test.sql(&query).await.concat()
}

/// The status, epoch and version of a user.
pub async fn state(test: &TestDatabase, user: UserId) -> String {
    let id = literal(test, user);
    let query = format!(
        "SELECT status || ' ' || CAST(token_epoch AS TEXT) || ' ' || CAST(version AS TEXT) \
         FROM users WHERE id = {id}"
    );
    test.sql(&query).await.concat()
}
