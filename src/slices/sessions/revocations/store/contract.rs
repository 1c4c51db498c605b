//! Tests of the contract of [`after`], on each database.

use chrono::{DateTime, TimeDelta, Utc};
use rstest::rstest;
use uuid::Uuid;

use super::{MAX_PAGE, Position, Revoked, after};
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::platform::database::testing::TestDatabase;
use crate::slices::sessions::testing::{NOW, time, uuid};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(NOW + seconds, 0).expect("in range")
}

/// Inserts revocations with these ids, stamped at these seconds, which matter for 35 minutes.
async fn revoke(test: &TestDatabase, rows: impl IntoIterator<Item = (u128, i64)>) {
    let rows = rows.into_iter().map(|(number, seconds)| {
        let (id, subject) = (uuid(test, number), uuid(test, number + 1_000_000));
        let created_at = time(test, at(seconds));
        let forget_at = time(test, at(seconds) + TimeDelta::minutes(35));
        format!("({id}, 'user', {subject}, 3, 'suspended', {created_at}, {forget_at})")
    });
    let rows: Vec<String> = rows.collect();
    test.sql(&format!(
        "INSERT INTO revocations (id, kind, subject, min_epoch, reason, created_at, forget_at) VALUES {}",
        rows.join(", ")
    ))
    .await;
}

async fn ids(test: &TestDatabase, position: Position, now: DateTime<Utc>) -> Vec<u128> {
    let found = after(&test.database, position, now).await.expect("read");
    found.iter().map(|row| row.id.as_u128()).collect()
}

#[rstest]
#[tokio::test]
async fn revocations_that_matter_are_listed_oldest_first(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    revoke(&test, [(4, 60), (2, 1), (3, 1), (1, 30)]).await;
    let first = Position::first(at(60));
    assert_eq!(ids(&test, first, at(60)).await, [2, 3, 1, 4]);
    // Two of the same microsecond.
    let behind = Position {
        created_at: at(1),
        id: Uuid::from_u128(2),
    };
    assert_eq!(ids(&test, behind, at(60)).await, [3, 1, 4]);
    let later = at(1) + TimeDelta::minutes(35);
    assert_eq!(ids(&test, Position::first(later), later).await, [1, 4]);
}

#[rstest]
#[tokio::test]
async fn a_revocation_is_read_as_it_was_written(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    revoke(&test, [(1, 5)]).await;
    let found = after(&test.database, Position::first(at(5)), at(5)).await;
    let expected = Revoked {
        id: Uuid::from_u128(1),
        kind: "user".to_owned(),
        subject: Uuid::from_u128(1_000_001),
        min_epoch: Some(3),
        reason: "suspended".to_owned(),
        created_at: at(5),
        forget_at: at(5) + TimeDelta::minutes(35),
    };
    assert_eq!(found.expect("read"), [expected]);
}

#[rstest]
#[tokio::test]
async fn a_page_is_bounded(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let most = MAX_PAGE as u128;
    revoke(&test, (1..=most + 1).map(|number| (number, 1))).await;
    let page = ids(&test, Position::first(at(2)), at(2)).await;
    assert_eq!((page.len(), page.last()), (MAX_PAGE, Some(&most)));
}
