//! Tests of the write of a reset, on each database.

use chrono::{DateTime, TimeDelta, Utc};
use rstest::rstest;
use uuid::Uuid;

use super::*;
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::platform::clock::SystemRandomness;
use crate::platform::database::testing::TestDatabase;
use crate::slices::accounts::testing::{AddLink, new_user};
use crate::tokens::secrets::testing::secrets;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).expect("in range")
}

fn grant(number: u128, purpose: Use) -> Grant {
    Grant {
        id: Uuid::from_u128(number),
        user: UserId::new(Uuid::from_u128(1)),
        purpose,
        address: "ada1@example.org".to_owned(),
        new_email: None,
        epoch: TokenEpoch::default(),
        expires_at: at(0) + TimeDelta::minutes(30),
    }
}

fn new_password() -> NewPassword {
    NewPassword {
        grant: grant(7, Use::Reset),
        password_hash: PasswordHash::new("new".to_owned()),
        network: None,
        correlation_id: "correlation".to_owned(),
        at: at(60),
        randomness: Arc::new(SystemRandomness),
        subject: Subject {
            hash: [5; 32],
            is_known_device: false,
        },
        mails: counts::Subject::new(&secrets("s", None), Kind::Reset, "ada@example.org"),
    }
}

async fn prepared(backend: Backend) -> TestDatabase {
    let test = TestDatabase::new(backend).await;
    new_user(&test, 1, "old").await;
    for (number, purpose) in [(7, Use::Reset), (8, Use::Verify)] {
        let added = test.database.write(AddLink(grant(number, purpose), at(0)));
        added.await.expect("written");
    }
    test
}

async fn count(test: &TestDatabase, of: &str) -> String {
    let query = format!("SELECT CAST(count(*) AS text) FROM {of}");
    test.sql(&query).await.pop().expect("a count")
}

#[rstest]
#[tokio::test]
async fn a_reset_sets_the_password_and_voids_everything_else(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = prepared(backend).await;
    let outcome = test.database.write(new_password()).await.expect("written");
    assert_eq!(
        outcome,
        Outcome::Done(grant(7, Use::Reset).user, TokenEpoch::new(1))
    );
    let users =
        "users WHERE password_hash = 'new' AND email_verified_at IS NOT NULL AND version = 1";
    for (of, expected) in [
        (users, "1"),
        ("users_read WHERE email_verified AND version = 1", "1"),
        ("one_time_tokens WHERE used_at IS NOT NULL", "1"),
        ("one_time_tokens WHERE voided_at IS NOT NULL", "1"),
        ("revocations", "1"),
        ("user_events WHERE type = 'user.password_changed'", "1"),
        ("mail_queue WHERE kind = 'password_changed'", "1"),
        ("auth_log WHERE action = 'password_reset'", "1"),
    ] {
        assert_eq!(count(&test, of).await, expected, "{of}");
    }
    let again = test.database.write(new_password()).await.expect("written");
    assert_eq!(again, Outcome::TokenUsed);
}

#[rstest]
#[case::a_later_epoch("UPDATE users SET token_epoch = 1")]
#[case::another_address("UPDATE users SET email_canonical = 'eve@example.org'")]
#[case::a_used_token("UPDATE one_time_tokens SET used_at = created_at")]
#[case::a_void_token("UPDATE one_time_tokens SET voided_at = created_at")]
#[tokio::test]
async fn a_token_that_is_not_good_any_more_sets_nothing(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[case] change: &str,
) {
    let test = prepared(backend).await;
    test.sql(change).await;
    let outcome = test.database.write(new_password()).await.expect("written");
    assert_eq!(outcome, Outcome::TokenUsed);
    assert_eq!(count(&test, "users WHERE password_hash = 'old'").await, "1");
    for table in ["revocations", "user_events", "mail_queue", "auth_log"] {
        assert_eq!(count(&test, table).await, "0", "{table}");
    }
}
