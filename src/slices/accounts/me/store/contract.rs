//! Tests of the contract of [`by_id`], on each database.

use chrono::DateTime;
use rstest::rstest;
use uuid::Uuid;

use super::{Account, by_id};
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::domain::UserId;
use crate::platform::database::testing::TestDatabase;
use crate::slices::user::User;

fn user(number: u128) -> User {
    User {
        id: UserId::new(Uuid::from_u128(number)),
        name: "Ada Lovelace".to_owned(),
        email: format!("ada{number}@example.org"),
        display_name: "Ada".to_owned(),
        created_at: DateTime::from_timestamp_micros(1_700_000_000_123_456).expect("in range"),
    }
}

#[rstest]
#[tokio::test]
async fn an_account_is_read_with_its_state_and_its_roles(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    test.project(&[user(1), user(2)]).await;
    let mut expected = Account {
        user: user(1),
        email_verified: false,
        status: "active".to_owned(),
        roles: Vec::new(),
        locale: None,
        updated_at: None,
    };
    let found = by_id(&test.database, user(1).id).await.expect("read");
    assert_eq!(found, Some(expected.clone()));

    let (id, time, verified) = match backend {
        Sqlite => (format!("x'{:032x}'", 1), "1700000000123457".to_owned(), "1"),
        Postgres => (
            format!("'{}'", Uuid::from_u128(1)),
            "'2023-11-14 22:13:20.123457+00'".to_owned(),
            "true",
        ),
    };
    test.sql(&format!(
        "INSERT INTO users (id, name, email, email_canonical, password_hash, created_at, updated_at) \
         VALUES ({id}, 'Another', 'other@example.org', 'other@example.org', '!', {time}, {time})"
    ))
    .await;
    test.sql(&format!(
        "UPDATE users_read SET email_verified = {verified}, status = 'suspended', updated_at = {time} \
         WHERE id = {id}"
    ))
    .await;
    test.sql(&format!(
        "UPDATE users SET locale = 'de-AT' WHERE id = {id}"
    ))
    .await;
    for role in ["support", "auditor"] {
        test.sql(&format!(
            "INSERT INTO user_roles (user_id, role, granted_by, granted_at) \
             VALUES ({id}, '{role}', 'cli', {time})"
        ))
        .await;
    }
    expected.email_verified = true;
    expected.status = "suspended".to_owned();
    expected.roles = vec!["auditor".to_owned(), "support".to_owned()];
    expected.locale = Some("de-AT".to_owned());
    expected.updated_at = DateTime::from_timestamp_micros(1_700_000_000_123_457);
    let found = by_id(&test.database, user(1).id).await.expect("read");
    assert_eq!(found, Some(expected));
}

#[rstest]
#[tokio::test]
async fn an_unknown_id_has_no_account(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    test.project(&[user(1)]).await;
    let found = by_id(&test.database, user(2).id).await.expect("read");
    assert_eq!(found, None);
}
