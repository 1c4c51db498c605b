//! Tests of the changes of a user's access, on each database.

use rstest::rstest;
use uuid::Uuid;

use super::{Accounts, Status, StatusOutcome};
use crate::access::UserCaller;
use crate::access::change::{Actor, Change, ChangeError};
use crate::access::testing::{change, count, new_session, new_user, state};
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::domain::{Permissions, SessionId, TokenEpoch, UserId};
use crate::platform::database::testing::TestDatabase;

fn accounts(test: &TestDatabase) -> Accounts {
    Accounts::new(test.database.clone(), None)
}

#[test]
fn a_status_is_read_from_its_own_text_only() {
    for status in Status::ALL {
        assert_eq!(Status::parse(status.as_str()), Some(status));
        let json = serde_json::to_string(&status).expect("a string");
        assert_eq!(json, format!("\"{}\"", status.as_str()));
    }
    assert_eq!(Status::parse("Active"), None);
}

#[rstest]
#[tokio::test]
async fn a_suspension_ends_access_once(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let user = new_user(&test, 1, &[]).await;
    let other = new_user(&test, 2, &[]).await;
    for (of, number) in [(user, 11), (user, 12), (other, 13)] {
        new_session(&test, of, number).await;
    }
    let accounts = accounts(&test);
    let suspend = || accounts.set_status(user, Status::Suspended, change());
    let raised = Some(TokenEpoch::new(1));
    let outcome = suspend().await.expect("written");
    assert_eq!(outcome, StatusOutcome::Changed(1, raised));
    let outcome = suspend().await.expect("read");
    assert_eq!(outcome, StatusOutcome::Unchanged(1));
    assert_eq!(state(&test, user).await, "suspended 1 1");
    let projected =
        "users_read WHERE status = 'suspended' AND version = 1 AND updated_at IS NOT NULL";
    assert_eq!(count(&test, projected).await, "1");
    let ended = "sessions WHERE end_reason = 'suspended' AND ended_at IS NOT NULL";
    assert_eq!(count(&test, ended).await, "2", "not those of another user");
    let revoked = "revocations WHERE kind = 'user' AND min_epoch = 1";
    assert_eq!(count(&test, revoked).await, "1");
    let events = "SELECT CAST(payload AS TEXT) FROM user_events WHERE type = 'user.status_changed'";
    let events = test.sql(events).await;
    assert_eq!(events.len(), 1);
    let payload: serde_json::Value = serde_json::from_str(&events[0]).expect("JSON");
    let expected = serde_json::json!({ "status": "suspended", "actor": "cli" });
    assert_eq!(payload, expected);

    let activated = accounts.set_status(user, Status::Active, change()).await;
    assert_eq!(activated.expect("written"), StatusOutcome::Changed(2, None));
    assert_eq!(state(&test, user).await, "active 1 2", "the epoch stays");
    assert_eq!(count(&test, "revocations").await, "1");
}

#[rstest]
#[tokio::test]
async fn an_unknown_user_has_no_status(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let unknown = UserId::new(Uuid::from_u128(9));
    let accounts = accounts(&test);
    for status in Status::ALL {
        let outcome = accounts.set_status(unknown, status, change()).await;
        assert_eq!(outcome.expect("read"), StatusOutcome::NoSuchUser);
    }
    assert!(
        !accounts
            .end_sessions(unknown, change())
            .await
            .expect("read")
    );
    assert_eq!(count(&test, "user_events").await, "0");
}

#[rstest]
#[tokio::test]
async fn the_last_active_administrator_stays(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let one = new_user(&test, 1, &["admin"]).await;
    let other = new_user(&test, 2, &["admin", "support"]).await;
    let user = new_user(&test, 3, &["support"]).await;
    let accounts = accounts(&test);
    let suspend = |user| accounts.set_status(user, Status::Suspended, change());
    let changed = |outcome| matches!(outcome, StatusOutcome::Changed(..));
    assert!(changed(suspend(user).await.expect("written")));
    assert!(changed(suspend(other).await.expect("written")));
    let refused = suspend(one).await.expect("read");
    assert_eq!(refused, StatusOutcome::LastAdmin);
    assert_eq!(state(&test, one).await, "active 0 0", "nothing was written");
    let activated = accounts.set_status(other, Status::Active, change()).await;
    assert!(changed(activated.expect("written")));
    assert!(changed(suspend(one).await.expect("written")));
}

#[rstest]
#[tokio::test]
async fn two_that_suspend_the_last_two_administrators_leave_one(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    let (one, other) = (
        new_user(&test, 1, &["admin"]).await,
        new_user(&test, 2, &["admin"]).await,
    );
    let accounts = accounts(&test);
    for _ in 0..20 {
        let (first, second) = tokio::join!(
            accounts.set_status(one, Status::Suspended, change()),
            accounts.set_status(other, Status::Suspended, change()),
        );
        let outcomes = [first.expect("certain"), second.expect("certain")];
        let refused = outcomes
            .iter()
            .filter(|outcome| **outcome == StatusOutcome::LastAdmin);
        assert_eq!(refused.count(), 1, "{outcomes:?}");
        for user in [one, other] {
            let activated = accounts.set_status(user, Status::Active, change()).await;
            activated.expect("written");
        }
    }
}

#[rstest]
#[tokio::test]
async fn sessions_end_without_a_suspension(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let user = new_user(&test, 1, &["admin"]).await;
    new_session(&test, user, 11).await;
    let accounts = accounts(&test);
    for epoch in 1..=2 {
        let known = accounts.end_sessions(user, change()).await;
        assert!(known.expect("written"));
        assert_eq!(state(&test, user).await, format!("active {epoch} 0"));
        let revoked = format!("revocations WHERE min_epoch = {epoch}");
        assert_eq!(count(&test, &revoked).await, "1");
    }
    assert_eq!(
        count(&test, "sessions WHERE end_reason = 'revoked'").await,
        "1"
    );
    let events = "user_events WHERE type = 'user.sessions_ended'";
    assert_eq!(count(&test, events).await, "2");
}

/// What an instance knows may be two seconds old.
#[rstest]
#[tokio::test]
async fn an_actor_whose_access_has_ended_changes_nothing(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    let user = new_user(&test, 1, &[]).await;
    let admin = new_user(&test, 2, &["admin"]).await;
    new_user(&test, 3, &["admin"]).await;
    new_session(&test, admin, 11).await;
    let accounts = accounts(&test);
    let by_admin = |epoch| Change {
        actor: Actor::User(admin),
        caller: Some(UserCaller {
            user: admin,
            session: SessionId::new(Uuid::from_u128(11)),
            auth_time: change().at,
            epoch: TokenEpoch::new(epoch),
            permissions: Permissions::ALL,
        }),
        ..change()
    };
    let by_key = Change {
        actor: Actor::Service("0h2k4n6q8s".to_owned()),
        ..change()
    };
    let suspend = |change| accounts.set_status(user, Status::Suspended, change);
    let is_revoked = |outcome| matches!(outcome, Err(ChangeError::Revoked));
    assert!(is_revoked(suspend(by_key).await), "there is no such key");
    let raised = accounts.end_sessions(admin, change()).await;
    assert!(raised.expect("written"));
    assert!(is_revoked(suspend(by_admin(0)).await), "an old epoch");
    assert!(is_revoked(suspend(by_admin(1)).await), "an ended session");
    assert_eq!(state(&test, user).await, "active 0 0");
    new_session(&test, admin, 12).await;
    let mut good = by_admin(1);
    if let Some(caller) = &mut good.caller {
        caller.session = SessionId::new(Uuid::from_u128(12));
    }
    let outcome = suspend(good).await.expect("written");
    assert!(matches!(outcome, StatusOutcome::Changed(..)));
}
