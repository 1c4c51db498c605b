//! Tests of the contract of [`EndOtherSessions`], on each database.

use futures_util::future::join;
use rstest::rstest;

use super::{EndOtherSessions, Outcome};
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::domain::{EndReason, SessionId};
use crate::platform::database::testing::TestDatabase;
use crate::slices::sessions::testing::{another_session, caller, ending, new_session, uuid};

async fn end(test: &TestDatabase, by: SessionId) -> Outcome {
    let work = EndOtherSessions {
        caller: caller(1, by),
        ending: ending(EndReason::Revoked),
    };
    test.database.write(work).await.expect("written")
}

async fn live(test: &TestDatabase) -> Vec<String> {
    let id = test.hex("id");
    let live = "WHERE ended_at IS NULL ORDER BY id";
    test.sql(&format!("SELECT {id} FROM sessions {live}")).await
}

#[rstest]
#[tokio::test]
async fn the_other_sessions_of_the_user_end(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let own = new_session(&test, 1).await;
    new_session(&test, 2).await;
    let others = [
        another_session(&test, 1, 3).await,
        another_session(&test, 1, 4).await,
    ];
    let Outcome::Ended(mut ended) = end(&test, own).await else {
        panic!("the caller's session is live");
    };
    ended.sort_unstable();
    assert_eq!(ended, others);
    let hex = |number: u128| format!("{number:032x}");
    assert_eq!(live(&test).await, [hex(1), hex(2)]);
    assert_eq!(end(&test, own).await, Outcome::Ended(Vec::new()));
}

#[rstest]
#[tokio::test]
async fn an_ended_session_ends_no_other(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let own = new_session(&test, 1).await;
    let other = another_session(&test, 1, 3).await;
    assert_eq!(end(&test, other).await, Outcome::Ended(vec![own]));
    assert_eq!(end(&test, own).await, Outcome::CallerEnded);
    assert_eq!(live(&test).await, [format!("{:032x}", 3)]);
}

#[rstest]
#[tokio::test]
async fn two_sessions_that_end_all_others_leave_one(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let first = new_session(&test, 1).await;
    for number in 10..40 {
        let second = another_session(&test, 1, number).await;
        let outcomes = join(end(&test, first), end(&test, second)).await;
        assert!(
            matches!(
                outcomes,
                (Outcome::Ended(_), Outcome::CallerEnded)
                    | (Outcome::CallerEnded, Outcome::Ended(_))
            ),
            "{outcomes:?}"
        );
        assert_eq!(live(&test).await.len(), 1);
        let revived = format!(
            "UPDATE sessions SET ended_at = NULL WHERE id = {}",
            uuid(&test, 1)
        );
        test.sql(&revived).await;
        test.sql(&format!(
            "DELETE FROM sessions WHERE id <> {}",
            uuid(&test, 1)
        ))
        .await;
    }
}
