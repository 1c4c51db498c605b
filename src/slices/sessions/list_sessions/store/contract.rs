//! Tests of the contract of [`live`], on each database.

use chrono::{DateTime, Utc};
use rstest::rstest;
use uuid::Uuid;

use super::{Listed, MAX_SESSIONS, live};
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::domain::{SessionId, UserId};
use crate::platform::database::testing::TestDatabase;
use crate::slices::sessions::testing::{NOW, another_session, new_session, time, uuid};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(NOW + seconds, 0).expect("in range")
}

async fn ids(test: &TestDatabase, now: DateTime<Utc>) -> Vec<u128> {
    let user = UserId::new(Uuid::from_u128(1));
    let found = live(&test.database, user, now).await.expect("read");
    let ids = found.iter().map(|session| session.id.as_uuid().as_u128());
    ids.collect()
}

#[rstest]
#[tokio::test]
async fn the_live_sessions_of_the_user_are_listed_newest_first(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    new_session(&test, 1).await;
    new_session(&test, 2).await;
    for number in 3..=6 {
        another_session(&test, 1, number).await;
    }
    for (number, change) in [
        (3, format!("created_at = {}", time(&test, at(60)))),
        (4, format!("ended_at = {}", time(&test, at(0)))),
        (5, format!("idle_until = {}", time(&test, at(100)))),
        (6, format!("expires_at = {}", time(&test, at(100)))),
    ] {
        let id = uuid(&test, number);
        test.sql(&format!("UPDATE sessions SET {change} WHERE id = {id}"))
            .await;
    }
    assert_eq!(ids(&test, at(99)).await, [3, 6, 5, 1]);
    assert_eq!(ids(&test, at(100)).await, [3, 1]);
}

#[rstest]
#[tokio::test]
async fn a_session_is_read_as_it_is_stored(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let id = new_session(&test, 1).await;
    let user = UserId::new(Uuid::from_u128(1));
    let mut expected = Listed {
        id,
        label: None,
        created_at: at(0),
        last_used_at: at(0),
        network: None,
    };
    let found = live(&test.database, user, at(1)).await.expect("read");
    assert_eq!(found, [expected.clone()]);
    let used = time(&test, at(5));
    test.sql(&format!(
        "UPDATE sessions SET label = 'phone', network = '192.0.2.0/24', last_used_at = {used}"
    ))
    .await;
    expected.label = Some("phone".to_owned());
    expected.network = Some("192.0.2.0/24".to_owned());
    expected.last_used_at = at(5);
    let found = live(&test.database, user, at(1)).await.expect("read");
    assert_eq!(found, [expected]);
}

#[rstest]
#[tokio::test]
async fn the_list_is_bounded(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    new_session(&test, 1).await;
    for number in 0..MAX_SESSIONS {
        another_session(&test, 1, 100 + number as u128).await;
    }
    let found = ids(&test, at(1)).await;
    assert_eq!(found.len(), MAX_SESSIONS);
    let oldest = SessionId::new(Uuid::from_u128(1));
    assert!(!found.contains(&oldest.as_uuid().as_u128()));
}
