//! Tests of the write of a verification, on each database.

use chrono::{DateTime, TimeDelta, Utc};
use rstest::rstest;
use uuid::Uuid;

use super::*;
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::platform::database::testing::TestDatabase;
use crate::slices::accounts::testing::{AddLink, new_user};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).expect("in range")
}

fn grant() -> Grant {
    Grant {
        id: Uuid::from_u128(7),
        user: UserId::new(Uuid::from_u128(1)),
        purpose: Use::Verify,
        address: "ada1@example.org".to_owned(),
        new_email: None,
        epoch: TokenEpoch::default(),
        expires_at: at(0) + TimeDelta::hours(24),
    }
}

fn verification() -> Verification {
    Verification {
        grant: grant(),
        password_hash: "hash".to_owned(),
        subject: Subject {
            hash: [5; 32],
            is_known_device: false,
        },
        event_id: Uuid::from_u128(8),
        correlation_id: "correlation".to_owned(),
        at: at(60),
    }
}

async fn prepared(backend: Backend) -> TestDatabase {
    let test = TestDatabase::new(backend).await;
    new_user(&test, 1, "hash").await;
    let added = test.database.write(AddLink(grant(), at(0))).await;
    added.expect("written");
    test
}

#[rstest]
#[tokio::test]
async fn a_verification_changes_both_rows_once(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = prepared(backend).await;
    let store = VerifyEmailStore::new(test.database.clone());
    assert!(store.verify(verification()).await.expect("written"));
    assert!(!store.verify(verification()).await.expect("written"));
    let account = store.account(grant().user).await.expect("read");
    assert!(account.expect("an account").is_verified);
    let read = "SELECT CAST(version AS text) FROM users_read WHERE email_verified";
    assert_eq!(test.sql(read).await, ["1"]);
    let events = "SELECT type FROM user_events";
    assert_eq!(test.sql(events).await, ["user.email_verified"]);
}

#[rstest]
#[case::another_password("UPDATE users SET password_hash = 'other'")]
#[case::another_address("UPDATE users SET email_canonical = 'eve@example.org'")]
#[case::a_used_token("UPDATE one_time_tokens SET used_at = created_at")]
#[case::a_void_token("UPDATE one_time_tokens SET voided_at = created_at")]
#[tokio::test]
async fn a_change_since_the_password_was_verified_prevents_it(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[case] change: &str,
) {
    let test = prepared(backend).await;
    test.sql(change).await;
    let store = VerifyEmailStore::new(test.database.clone());
    assert!(!store.verify(verification()).await.expect("written"));
    let verified = "SELECT CAST(count(*) AS text) FROM users WHERE email_verified_at IS NOT NULL";
    assert_eq!(test.sql(verified).await, ["0"]);
    let events = "SELECT CAST(count(*) AS text) FROM user_events";
    assert_eq!(test.sql(events).await, ["0"]);
}
