//! Tests of the reads of a user, on each database.

use chrono::{DateTime, TimeDelta, Utc};
use rstest::rstest;
use uuid::Uuid;

use super::{MAX_ROWS, by_id};
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::domain::UserId;
use crate::platform::database::testing::TestDatabase;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).expect("in range")
}

/// Ids and times of rows as SQL literals.
struct Literals(Backend);

impl Literals {
    fn id(&self, number: u128) -> String {
        let id = Uuid::from_u128(number);
        match self.0 {
            Sqlite => format!("x'{}'", id.simple()),
            Postgres => format!("'{id}'"),
        }
    }

    fn time(&self, seconds: i64) -> String {
        let time = now() + TimeDelta::seconds(seconds);
        match self.0 {
            Sqlite => time.timestamp_micros().to_string(),
            Postgres => format!("'{}'", time.to_rfc3339()),
        }
    }

    fn nonce(&self) -> &str {
        match self.0 {
            Sqlite => "x'07'",
            Postgres => r"'\x07'",
        }
    }
}

#[rstest]
#[tokio::test]
async fn a_user_has_roles_live_sessions_and_the_newest_events(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    let of = Literals(backend);
    let (user, at) = (of.id(1), of.time(0));
    for insert in [
        format!(
            "INSERT INTO users (id, name, email, email_canonical, password_hash, created_at, updated_at) \
             VALUES ({user}, 'Ada', 'Ada@example.org', 'ada@example.org', '!', {at}, {at})"
        ),
        format!(
            "INSERT INTO users_read (id, name, email, email_canonical, display_name, created_at) \
             VALUES ({user}, 'Ada', 'Ada@example.org', 'ada@example.org', 'A', {at})"
        ),
        format!(
            "INSERT INTO user_roles (user_id, role, granted_by, granted_at) VALUES \
             ({user}, 'support', 'cli', {at}), ({user}, 'admin', 'cli', {at})"
        ),
    ] {
        test.sql(&insert).await;
    }
    let nonce = of.nonce();
    // Live, ended, idle for too long, expired.
    for (number, idle, expires, ended) in [
        (11, 1, 1, "NULL".to_owned()),
        (12, 1, 1, of.time(0)),
        (13, -1, 1, "NULL".to_owned()),
        (14, 1, -1, "NULL".to_owned()),
        (15, 1, 1, "NULL".to_owned()),
    ] {
        let (id, idle, expires) = (of.id(number), of.time(idle), of.time(expires));
        test.sql(&format!(
            "INSERT INTO sessions (id, user_id, nonce, rotated_at, created_at, last_used_at, idle_until, \
             expires_at, auth_time, amr, label, ended_at) VALUES ({id}, {user}, {nonce}, {at}, {at}, {at}, \
             {idle}, {expires}, {at}, 'pwd', 'phone', {ended})"
        ))
        .await;
    }
    let events: Vec<String> = (0..120)
        .map(|number| {
            let (id, at) = (
                of.id(100 + number),
                of.time(i64::try_from(number).expect("small")),
            );
            format!("({id}, {user}, 'user.tested', 1, {at}, 'c', '{{\"number\":{number}}}')")
        })
        .collect();
    let insert = format!(
        "INSERT INTO user_events (event_id, user_id, type, schema_version, occurred_at, correlation_id, \
         payload) VALUES {}",
        events.join(", ")
    );
    test.sql(&insert).await;

    let id = |number| UserId::new(Uuid::from_u128(number));
    let found = by_id(&test.database, id(1), now()).await.expect("read");
    let found = found.expect("a user");
    assert_eq!(
        (found.user.email.as_str(), found.user.status.as_str()),
        ("Ada@example.org", "active")
    );
    assert_eq!((found.user.email_verified, found.user.version), (false, 0));
    assert_eq!(
        (found.user.created_at, found.user.updated_at),
        (now(), None)
    );
    let roles: Vec<&str> = found
        .roles
        .iter()
        .map(|granted| granted.role.as_str())
        .collect();
    assert_eq!(roles, ["admin", "support"]);
    let sessions: Vec<u128> = found
        .sessions
        .iter()
        .map(|session| session.id.as_u128())
        .collect();
    assert_eq!(sessions, [15, 11]);
    assert_eq!(found.events.len(), MAX_ROWS);
    assert_eq!(found.events[0].payload["number"], 119);
    assert_eq!(found.events[99].payload["number"], 20);

    let unknown = by_id(&test.database, id(2), now()).await.expect("read");
    assert!(unknown.is_none());
}
