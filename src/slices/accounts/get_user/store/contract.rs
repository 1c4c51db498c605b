//! Tests of the contract of [`by_id`], on each database.

use chrono::DateTime;
use rstest::rstest;
use uuid::Uuid;

use super::by_id;
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::domain::{StoreError, UserId};
use crate::platform::database::testing::TestDatabase;
use crate::slices::user::User;

fn user(number: u128) -> User {
    User {
        id: UserId::new(Uuid::from_u128(number)),
        name: format!("Ada Lovelace {number}"),
        email: format!("ada{number}@example.org"),
        display_name: format!("Ada {number} of 🦀"),
        created_at: DateTime::from_timestamp_micros(1_700_000_000_123_456).expect("in range"),
    }
}

#[rstest]
#[tokio::test]
async fn a_user_is_read_as_it_was_written(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let users = [user(1), user(2), user(u128::MAX)];
    test.project(&users).await;

    for user in users {
        let found = by_id(&test.database, user.id).await.expect("a response");
        assert!(found == Some(user), "{found:?}");
    }
}

#[rstest]
#[tokio::test]
async fn an_unknown_id_finds_no_user(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    test.project(&[user(1)]).await;

    let found = by_id(&test.database, user(2).id).await.expect("a response");
    assert!(found.is_none(), "{found:?}");
}

#[rstest]
#[tokio::test]
async fn only_the_projection_is_read(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    test.project(&[user(1)]).await;
    test.drop_tables(&["users", "user_events"]).await;

    let found = by_id(&test.database, user(1).id).await.expect("a response");
    assert!(found == Some(user(1)), "{found:?}");
}

#[rstest]
#[tokio::test]
async fn a_failing_store_returns_an_error(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    test.sql("ALTER TABLE users_read RENAME TO elsewhere").await;
    let error = by_id(&test.database, user(1).id)
        .await
        .expect_err("no table");
    assert!(matches!(error, StoreError::Broken(_)), "{error:?}");

    test.database.close().await;
    let error = by_id(&test.database, user(1).id)
        .await
        .expect_err("no pool");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}
