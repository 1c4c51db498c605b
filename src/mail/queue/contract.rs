//! Tests of the queue, on each database.

use rstest::rstest;

use super::*;
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::platform::database::testing::TestDatabase;

const LEASE: TimeDelta = TimeDelta::seconds(90);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).expect("in range")
}

/// A mail that was caused at this second, which is its id as well.
fn mail(second: i64) -> NewMail {
    NewMail {
        id: Uuid::from_u128(u128::try_from(second).expect("positive")),
        kind: Kind::PasswordChanged,
        user: Some(UserId::new(Uuid::from_u128(1))),
        token: None,
        to_sealed: Some(vec![1, 2]),
        locale: None,
        is_confirmed: false,
        at: at(second),
    }
}

async fn prepared(backend: Backend, mails: i64) -> (TestDatabase, Queue) {
    let test = TestDatabase::new(backend).await;
    for second in 1..=mails {
        let added = add_alone(&test.database, &mail(second)).await;
        added.expect("written");
    }
    let queue = Queue::new(test.database.clone());
    (test, queue)
}

/// After a rollback there may be mails that only the release after can send.
#[rstest]
#[tokio::test]
async fn a_mail_of_an_unknown_kind_holds_up_no_other(#[values(Sqlite, Postgres)] backend: Backend) {
    let (test, queue) = prepared(backend, 2).await;
    let oldest = "UPDATE mail_queue SET kind = 'of the next release' WHERE next_at = \
                  (SELECT min(next_at) FROM mail_queue)";
    test.sql(oldest).await;
    let leased = lease(&queue, 10, 20).await;
    let ids: Vec<_> = leased.iter().map(|mail| mail.id).collect();
    assert_eq!(ids, [mail(2).id]);
}

async fn lease(queue: &Queue, second: i64, most: i32) -> Vec<Leased> {
    let leased = queue.lease(at(second), LEASE, most).await;
    let mut leased = leased.expect("leased");
    leased.sort_by_key(|mail| mail.id);
    leased
}

fn ids(mails: &[Leased]) -> Vec<u128> {
    mails.iter().map(|mail| mail.id.as_u128()).collect()
}

/// Guarantee M1.
#[rstest]
#[tokio::test]
async fn a_mail_is_leased_once_until_its_lease_ends(#[values(Sqlite, Postgres)] backend: Backend) {
    let (_test, queue) = prepared(backend, 3).await;
    assert!(lease(&queue, 0, 9).await.is_empty(), "none is due");
    let first = lease(&queue, 10, 2).await;
    assert_eq!(ids(&first), [1, 2]);
    assert_eq!(first[0].kind, Kind::PasswordChanged);
    assert_eq!((first[0].attempts, first[0].created_at), (1, at(1)));
    assert_eq!(ids(&lease(&queue, 10, 9).await), [3]);
    assert!(lease(&queue, 99, 9).await.is_empty());
    let again = lease(&queue, 100, 9).await;
    assert_eq!(ids(&again), [1, 2, 3]);
    assert_eq!(again[0].attempts, 2);
    // An instance that is late changes nothing.
    queue.sent(&first[0], at(101)).await.expect("asked");
    queue.dead(&first[1], at(101), "late").await.expect("asked");
    assert_eq!(ids(&lease(&queue, 300, 9).await), [1, 2, 3]);
}

#[rstest]
#[tokio::test]
async fn what_became_of_a_mail_is_recorded(#[values(Sqlite, Postgres)] backend: Backend) {
    let (test, queue) = prepared(backend, 4).await;
    let mails = lease(&queue, 10, 9).await;
    queue.sent(&mails[0], at(11)).await.expect("written");
    let later = queue.later(&mails[1], at(50), 1, "deferred");
    later.await.expect("written");
    queue
        .dead(&mails[2], at(11), "rejected")
        .await
        .expect("written");
    queue.remove(&mails[3]).await.expect("written");
    let states = "SELECT CAST(sent_at IS NOT NULL AS text) || ' ' || CAST(dead_at IS NOT NULL AS text) \
                  || ' ' || coalesce(last_error, '-') FROM mail_queue ORDER BY id";
    let states: Vec<String> = test
        .sql(states)
        .await
        .into_iter()
        .map(|state| state.replace("true", "1").replace("false", "0"))
        .collect();
    assert_eq!(states, ["1 0 -", "0 0 deferred", "0 1 rejected"]);
    // No address is kept of what is over.
    let sealed = "SELECT CAST(count(to_sealed) AS text) FROM mail_queue";
    assert_eq!(test.sql(sealed).await, ["1"]);
    let (oldest, dead) = queue.backlog(at(60)).await.expect("read");
    assert_eq!((oldest.num_seconds(), dead), (58, 1));
    assert!(lease(&queue, 49, 9).await.is_empty());
    let again = lease(&queue, 50, 9).await;
    assert_eq!((ids(&again), again[0].attempts), (vec![2], 2));
}

#[rstest]
#[tokio::test]
async fn old_mails_are_removed(#[values(Sqlite, Postgres)] backend: Backend) {
    let (test, queue) = prepared(backend, 3).await;
    let now = at(2) + KEPT;
    assert_eq!(queue.purge(now, 1).await.expect("removed"), 1);
    assert_eq!(queue.purge(now, 9).await.expect("removed"), 1);
    assert_eq!(queue.purge(now, 9).await.expect("removed"), 0);
    let left = "SELECT CAST(count(*) AS text) FROM mail_queue";
    assert_eq!(test.sql(left).await, ["1"]);
}
