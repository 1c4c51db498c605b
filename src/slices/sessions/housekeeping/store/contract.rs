//! Tests of the contract of [`Old::remove`], on each database.

use chrono::{DateTime, TimeDelta, Utc};
use rstest::rstest;

use super::{OLD, Old};
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::platform::database::testing::TestDatabase;
use crate::slices::sessions::testing::{NOW, another_session, new_session, time, uuid};

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(NOW, 0).expect("in range")
}

fn old(what: &str) -> &'static Old {
    let found = OLD.iter().find(|old| old.what == what);
    found.expect("one of them")
}

/// Inserts one row for each time.
async fn fill(test: &TestDatabase, what: &str, times: [DateTime<Utc>; 4]) {
    new_session(test, 1).await;
    let live = now() + TimeDelta::days(1_000);
    test.sql(&format!(
        "UPDATE sessions SET expires_at = {}",
        time(test, live)
    ))
    .await;
    for (number, at) in (10..).zip(times) {
        let (id, live, at) = (uuid(test, number), time(test, live), time(test, at));
        let statement = match what {
            "ended sessions" => {
                another_session(test, 1, number).await;
                format!("UPDATE sessions SET ended_at = {at}, expires_at = {live} WHERE id = {id}")
            }
            "expired sessions" => {
                another_session(test, 1, number).await;
                format!("UPDATE sessions SET expires_at = {at} WHERE id = {id}")
            }
            "revocations" => format!(
                "INSERT INTO revocations (id, kind, subject, reason, created_at, forget_at) \
                 VALUES ({id}, 'user', {id}, 'erased', {}, {at})",
                time(test, now() - TimeDelta::days(1))
            ),
            "log entries" => format!(
                "INSERT INTO auth_log (id, actor, action, outcome, correlation_id, at) \
                 VALUES ({id}, 'user', 'login', 'succeeded', 'c', {at})"
            ),
            _ => {
                let subject = match test.backend {
                    Sqlite => id,
                    Postgres => format!("decode('{number:064x}', 'hex')"),
                };
                format!(
                    "INSERT INTO login_throttle (subject, failures, last_at, blocked_until) \
                     VALUES ({subject}, 1, {at}, {live})"
                )
            }
        };
        test.sql(&statement).await;
    }
}

#[rstest]
#[case("ended sessions", "sessions", TimeDelta::days(7), 3)]
#[case("expired sessions", "sessions", TimeDelta::days(7), 3)]
#[case("revocations", "revocations", TimeDelta::hours(1), 2)]
#[case("log entries", "auth_log", TimeDelta::days(90), 2)]
#[case("failed logins", "login_throttle", TimeDelta::days(30), 2)]
#[tokio::test]
async fn old_rows_are_removed_in_batches_and_others_stay(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[case] what: &str,
    #[case] table: &str,
    #[case] kept: TimeDelta,
    #[case] left: usize,
) {
    let test = TestDatabase::new(backend).await;
    let oldest = now() - kept;
    let second = TimeDelta::seconds(1);
    fill(
        &test,
        what,
        [oldest - second, oldest, oldest + second, now()],
    )
    .await;
    for removed in [1, 1, 0] {
        let round = old(what).remove(&test.database, now(), 1).await;
        assert_eq!(round.expect("removed"), removed);
    }
    let count = format!("SELECT CAST(count(*) AS text) FROM {table}");
    assert_eq!(test.sql(&count).await, [left.to_string()]);
    for other in &OLD {
        let round = other.remove(&test.database, now(), 10).await;
        assert_eq!(round.expect("removed"), 0, "{}", other.what);
    }
}
