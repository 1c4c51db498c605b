//! Tests of the write of a refresh, on each database.

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use rstest::rstest;

use super::{Rotation, rotate};
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::domain::{Generation, SessionId};
use crate::platform::database::testing::TestDatabase;
use crate::slices::sessions::session::{self, Session};
use crate::slices::sessions::testing::{NOW, new_session};

fn rotation(session: SessionId, from: u32, key: Option<[u8; 32]>) -> Rotation {
    let from = Generation::new(from);
    Rotation {
        session,
        from,
        to: from.next().expect("a next one"),
        at: now(),
        key,
        idle_until: now() + TimeDelta::days(7),
        network: Some("192.0.2.0/24".to_owned()),
    }
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).expect("in range")
}

async fn read(test: &TestDatabase, id: SessionId) -> Session {
    let found = session::by_id(&test.database, id.as_uuid()).await;
    found.expect("read").expect("a session")
}

#[rstest]
#[tokio::test]
async fn a_rotation_changes_the_generation_once(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let id = new_session(&test, 1).await;
    let rotate = |from| rotate(&test.database, rotation(id, from, Some([7; 32])));
    assert!(rotate(0).await.expect("written"));
    assert!(!rotate(0).await.expect("not written"));
    let stored = read(&test, id).await.stored;
    assert_eq!(stored.generation, Generation::new(1));
    assert_eq!(stored.rotation_key, Some([7; 32]));
    assert_eq!((stored.rotated_at, stored.ended), (now(), None));
    assert_eq!(stored.idle_until, now() + TimeDelta::days(7));
    assert!(rotate(1).await.expect("written"));
}

#[rstest]
#[tokio::test]
async fn of_many_rotations_at_once_one_wins(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let id = new_session(&test, 1).await;
    let all = (0..16).map(|_| rotate(&test.database, rotation(id, 0, None)));
    let won = join_all(all).await.into_iter().filter_map(Result::ok);
    assert_eq!(won.filter(|won| *won).count(), 1);
    assert_eq!(read(&test, id).await.stored.generation, Generation::new(1));
}

#[rstest]
#[case::the_user_is_suspended("UPDATE users SET status = 'suspended'")]
#[case::the_session_ended("UPDATE sessions SET ended_at = rotated_at, end_reason = 'logged_out'")]
#[case::the_user_is_gone("DELETE FROM users")]
#[tokio::test]
async fn no_rotation_once(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[case] change: &'static str,
) {
    let test = TestDatabase::new(backend).await;
    let id = new_session(&test, 1).await;
    test.sql(change).await;
    let rotated = rotate(&test.database, rotation(id, 0, None)).await;
    assert!(!rotated.expect("not written"));
}
