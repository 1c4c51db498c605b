//! Tests of the contract of [`EndSession`], on each database.

use rstest::rstest;
use uuid::Uuid;

use super::{EndSession, Outcome};
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::domain::{EndReason, SessionId};
use crate::platform::database::testing::TestDatabase;
use crate::slices::sessions::session;
use crate::slices::sessions::testing::{another_session, caller, ending, new_session};

async fn end(test: &TestDatabase, by: SessionId, session: SessionId) -> Outcome {
    let work = EndSession {
        caller: caller(1, by),
        session,
        ending: ending(EndReason::Revoked),
    };
    test.database.write(work).await.expect("written")
}

async fn ended(test: &TestDatabase, id: SessionId) -> Option<EndReason> {
    let found = session::by_id(&test.database, id.as_uuid()).await;
    found.expect("read").expect("a session").stored.ended
}

#[rstest]
#[tokio::test]
async fn a_user_ends_own_sessions_only(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let own = new_session(&test, 1).await;
    let other = another_session(&test, 1, 3).await;
    let foreign = new_session(&test, 2).await;
    let unknown = SessionId::new(Uuid::from_u128(9));

    assert_eq!(end(&test, own, other).await, Outcome::Ended);
    assert_eq!(ended(&test, other).await, Some(EndReason::Revoked));
    assert_eq!(end(&test, own, other).await, Outcome::Ended, "a retry");
    for session in [foreign, unknown] {
        assert_eq!(end(&test, own, session).await, Outcome::NotFound);
    }
    assert_eq!(ended(&test, foreign).await, None);
    let revoked = "SELECT CAST(count(*) AS text) FROM revocations";
    assert_eq!(test.sql(revoked).await, ["1"]);
}

#[rstest]
#[tokio::test]
async fn an_ended_session_ends_no_other(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let own = new_session(&test, 1).await;
    let other = another_session(&test, 1, 3).await;
    assert_eq!(end(&test, own, own).await, Outcome::Ended);
    assert_eq!(ended(&test, own).await, Some(EndReason::Revoked));

    assert_eq!(end(&test, own, other).await, Outcome::CallerEnded);
    assert_eq!(ended(&test, other).await, None);
    assert_eq!(end(&test, own, own).await, Outcome::CallerEnded);
}
