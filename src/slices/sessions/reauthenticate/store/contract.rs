//! Tests of the write of a reauthentication, on each database.

use chrono::{DateTime, Utc};
use rstest::rstest;
use uuid::Uuid;

use super::*;
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::platform::database::testing::TestDatabase;
use crate::slices::sessions::testing::{NOW, new_session};

fn later() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW + 60, 0).expect("in range")
}

async fn reauthenticate(test: &TestDatabase, hash: &str) -> Option<Session> {
    let session = SessionId::new(Uuid::from_u128(1));
    let entry = Entry {
        id: Uuid::from_u128(5),
        user: Some(UserId::new(Uuid::from_u128(1))),
        session: Some(session),
        actor: "user",
        action: "reauthenticate",
        outcome: "succeeded",
        network: None,
        correlation_id: "correlation".to_owned(),
        at: later(),
    };
    let subject = Subject {
        hash: [5; 32],
        is_known_device: true,
    };
    let store = ReauthenticateStore::new(test.database.clone());
    let written = store.refreshed(session, hash.to_owned(), subject, entry);
    written.await.expect("written")
}

#[rstest]
#[tokio::test]
async fn a_live_session_becomes_fresh(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    new_session(&test, 1).await;
    let store = ReauthenticateStore::new(test.database.clone());
    let found = store.account(UserId::new(Uuid::from_u128(1))).await;
    let found = found.expect("read").expect("an account");
    assert_eq!(found.address, "ada1@example.org");
    let session = reauthenticate(&test, &found.password_hash).await;
    assert_eq!(session.expect("live").auth_time, later());
}

#[rstest]
#[case::another_hash("UPDATE users SET password_hash = 'other'")]
#[case::a_suspension("UPDATE users SET status = 'suspended'")]
#[case::the_end_of_the_session("UPDATE sessions SET ended_at = created_at")]
#[case::no_user("DELETE FROM users")]
#[tokio::test]
async fn a_change_since_the_verification_prevents_it(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[case] change: &str,
) {
    let test = TestDatabase::new(backend).await;
    new_session(&test, 1).await;
    test.sql(change).await;
    assert!(reauthenticate(&test, "!").await.is_none());
    let log = test
        .sql("SELECT CAST(count(*) AS text) FROM auth_log")
        .await;
    assert_eq!(log, ["0"]);
}
