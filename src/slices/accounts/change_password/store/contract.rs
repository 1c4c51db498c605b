//! Tests of the write of a change, on each database.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use rstest::rstest;
use uuid::Uuid;

use super::*;
use crate::access::change::Actor;
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::platform::clock::SystemRandomness;
use crate::platform::database::testing::TestDatabase;
use crate::slices::accounts::testing::{AddLink, new_user};
use crate::slices::sessions::testing::{NOW, another_session, caller};
use crate::tokens::one_time::{Grant, Use};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(NOW + seconds, 0).expect("in range")
}

fn user() -> UserId {
    UserId::new(Uuid::from_u128(1))
}

/// A user with two sessions and the link of a mail, and the change by the first of the sessions.
async fn prepared(backend: Backend) -> (TestDatabase, NewPassword) {
    let test = TestDatabase::new(backend).await;
    new_user(&test, 1, "old").await;
    let session = another_session(&test, 1, 7).await;
    another_session(&test, 1, 8).await;
    let grant = Grant {
        id: Uuid::from_u128(9),
        user: user(),
        purpose: Use::Reset,
        address: "ada1@example.org".to_owned(),
        new_email: None,
        epoch: TokenEpoch::default(),
        expires_at: at(0) + TimeDelta::minutes(30),
    };
    let added = test.database.write(AddLink(grant, at(0))).await;
    added.expect("written");
    let change = Change {
        actor: Actor::User(user()),
        caller: None,
        at: at(60),
        correlation_id: "correlation".to_owned(),
        network: None,
        randomness: Arc::new(SystemRandomness),
    };
    let new = NewPassword {
        caller: caller(1, session),
        change,
        verified: "old".to_owned(),
        password_hash: PasswordHash::new("new".to_owned()),
        subject: Subject {
            hash: [5; 32],
            is_known_device: true,
        },
        sends_mail: true,
    };
    (test, new)
}

async fn count(test: &TestDatabase, of: &str) -> String {
    let query = format!("SELECT CAST(count(*) AS text) FROM {of}");
    test.sql(&query).await.pop().expect("a count")
}

#[rstest]
#[tokio::test]
async fn a_change_sets_the_password_and_ends_what_rests_on_the_one_before(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let (test, new) = prepared(backend).await;
    let outcome = test.database.write(new).await.expect("written");
    assert_eq!(outcome, Outcome::Done(user(), TokenEpoch::new(1)));
    let users = "users WHERE password_hash = 'new' AND token_epoch = 1 AND version = 1 \
                 AND password_changed_at = updated_at";
    for (of, expected) in [
        (users, "1"),
        (
            "users_read WHERE version = 1 AND updated_at IS NOT NULL",
            "1",
        ),
        ("sessions WHERE ended_at IS NULL", "1"),
        ("sessions WHERE end_reason = 'password_changed'", "1"),
        ("one_time_tokens WHERE voided_at IS NOT NULL", "1"),
        ("revocations WHERE kind = 'user' AND min_epoch = 1", "1"),
        ("user_events WHERE type = 'user.password_changed'", "1"),
        ("mail_queue WHERE kind = 'password_changed'", "1"),
        ("auth_log WHERE action = 'password_changed'", "1"),
    ] {
        assert_eq!(count(&test, of).await, expected, "{of}");
    }
}

#[rstest]
#[case::another_password("UPDATE users SET password_hash = 'other'", Outcome::ChangedMeanwhile)]
#[case::another_password_by_this_session(
    "UPDATE users SET password_hash = 'other', token_epoch = 1",
    Outcome::ChangedMeanwhile
)]
#[case::another_password_by_another_session(
    "UPDATE users SET password_hash = 'other', token_epoch = 1; \
     UPDATE sessions SET ended_at = created_at, end_reason = 'revoked'",
    Outcome::CallerEnded
)]
#[case::a_later_epoch("UPDATE users SET token_epoch = 1", Outcome::CallerEnded)]
#[case::a_suspension("UPDATE users SET status = 'suspended'", Outcome::CallerEnded)]
#[case::no_session(
    "UPDATE sessions SET ended_at = created_at, end_reason = 'revoked'",
    Outcome::CallerEnded
)]
#[case::no_user("DELETE FROM users", Outcome::CallerEnded)]
#[tokio::test]
async fn what_has_changed_since_the_password_was_verified_prevents_it(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[case] change: &str,
    #[case] expected: Outcome,
) {
    let (test, new) = prepared(backend).await;
    test.sql(change).await;
    let outcome = test.database.write(new).await.expect("written");
    assert_eq!(outcome, expected);
    assert_eq!(count(&test, "users WHERE password_hash = 'new'").await, "0");
    for table in [
        "revocations",
        "user_events",
        "mail_queue",
        "auth_log",
        "sessions WHERE end_reason = 'password_changed'",
        "one_time_tokens WHERE voided_at IS NOT NULL",
    ] {
        assert_eq!(count(&test, table).await, "0", "{table}");
    }
}
