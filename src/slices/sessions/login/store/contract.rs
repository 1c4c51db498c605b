//! Tests of the writes of a login, on each database.

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::join_all;
use rstest::rstest;
use uuid::Uuid;

use super::*;
use crate::attempts::throttle::Throttle;
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::domain::EndReason;
use crate::platform::database::testing::TestDatabase;
use crate::slices::sessions::testing::{NOW, ending, new_session, time, uuid};

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(NOW + seconds, 0).expect("in range")
}

/// A session of the user 1 at this second; its id is the number.
fn session(number: u128, seconds: i64) -> NewSession {
    let user = UserId::new(Uuid::from_u128(1));
    let id = SessionId::new(Uuid::from_u128(number));
    NewSession {
        id,
        nonce: [9; 16],
        user,
        password_hash: "!".to_owned(),
        may_be_unverified: true,
        at: at(seconds),
        idle_until: at(seconds) + TimeDelta::days(7),
        expires_at: at(seconds) + TimeDelta::days(30),
        login_key: None,
        previous_login_key: None,
        label: Some("Ada's phone".to_owned()),
        subject: Subject {
            hash: [5; 32],
            is_known_device: false,
        },
        breached: None,
        entry: Entry {
            id: Uuid::from_u128(number << 64),
            user: Some(user),
            session: Some(id),
            actor: "user",
            action: "login",
            outcome: "succeeded",
            network: Some("192.0.2.0/24".to_owned()),
            correlation_id: "correlation".to_owned(),
            at: at(seconds),
        },
        ending: Ending {
            at: at(seconds),
            ..ending(EndReason::Revoked)
        },
    }
}

fn open(test: &TestDatabase) -> LoginStore {
    LoginStore::new(test.database.clone())
}

async fn count(test: &TestDatabase, of: &str) -> String {
    let query = format!("SELECT CAST(count(*) AS text) FROM {of}");
    test.sql(&query).await.pop().expect("a count")
}

#[rstest]
#[tokio::test]
async fn a_login_writes_its_session_its_log_and_clears_its_subject(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    new_session(&test, 1).await;
    let new = session(2, 0);
    let throttle = Throttle::new(test.database.clone());
    let before = throttle.find(&new.subject, at(0)).await;
    let failed = throttle.failed(&new.subject, before.expect("read"), None, at(0));
    failed.await.expect("written");
    let begun = open(&test).begin(new.clone()).await.expect("written");
    let Begun::New(found, ended) = begun else {
        panic!("{begun:?}");
    };
    assert_eq!((found.id, found.user), (new.id, new.user));
    assert_eq!((found.nonce, found.auth_time), (new.nonce, at(0)));
    assert_eq!(found.stored.idle_until, new.idle_until);
    assert_eq!(found.stored.expires_at, new.expires_at);
    assert_eq!((found.stored.generation.get(), ended.len()), (0, 0));
    assert_eq!(count(&test, "login_throttle").await, "0");
    assert_eq!(count(&test, "auth_log").await, "1");
}

#[rstest]
#[tokio::test]
async fn a_breached_password_is_an_event_once(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    new_session(&test, 1).await;
    let events = "SELECT type FROM user_events ORDER BY occurred_at";
    let log_in = async |number: u128| {
        let seconds = i64::try_from(number).expect("small");
        let mut new = session(number, seconds);
        new.breached = Some(Circumstances {
            event_id: Uuid::from_u128(number),
            user_id: new.user,
            at: new.at,
            correlation_id: "correlation".to_owned(),
        });
        let begun = open(&test).begin(new).await.expect("written");
        assert!(matches!(begun, Begun::New(..)), "{begun:?}");
        test.sql(events).await
    };
    log_in(2).await;
    assert_eq!(log_in(3).await, ["user.password_breached"]);
    let (id, user, at) = (uuid(&test, 4), uuid(&test, 1), time(&test, at(4)));
    test.sql(&format!(
        "INSERT INTO user_events (event_id, user_id, type, schema_version, occurred_at, \
         correlation_id, payload) \
         VALUES ({id}, {user}, 'user.password_changed', 1, {at}, 'correlation', '{{}}')"
    ))
    .await;
    // Another password.
    assert_eq!(log_in(5).await.len(), 3);
    assert_eq!(log_in(6).await.len(), 3);
}

/// Guarantee S7.
#[rstest]
#[case::another_password("UPDATE users SET password_hash = 'other'")]
#[case::a_suspension("UPDATE users SET status = 'suspended'")]
#[case::no_user("DELETE FROM users")]
#[tokio::test]
async fn a_change_since_the_verification_prevents_the_session(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[case] change: &str,
) {
    let test = TestDatabase::new(backend).await;
    new_session(&test, 1).await;
    test.sql(change).await;
    for key in [None, Some([3; 32])] {
        let new = NewSession {
            login_key: key,
            ..session(2, 0)
        };
        let begun = open(&test).begin(new).await.expect("written");
        assert!(matches!(begun, Begun::Changed), "{begun:?}");
    }
    assert_eq!(count(&test, "auth_log").await, "0");
}

#[rstest]
#[tokio::test]
async fn a_required_verification_is_part_of_the_condition(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    new_session(&test, 1).await;
    let required = |number| NewSession {
        may_be_unverified: false,
        ..session(number, 0)
    };
    let begun = open(&test).begin(required(2)).await.expect("written");
    assert!(matches!(begun, Begun::Changed), "{begun:?}");
    test.sql("UPDATE users SET email_verified_at = created_at")
        .await;
    let begun = open(&test).begin(required(3)).await.expect("written");
    assert!(matches!(begun, Begun::New(..)), "{begun:?}");
}

#[rstest]
#[tokio::test]
async fn logins_with_one_key_begin_one_session(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    new_session(&test, 1).await;
    let keyed = |number, seconds| NewSession {
        login_key: Some([3; 32]),
        ..session(number, seconds)
    };
    let store = open(&test);
    let all = (2..22).map(|number| store.begin(keyed(number, 0)));
    let all = join_all(all)
        .await
        .into_iter()
        .map(|begun| begun.expect("written"));
    let (mut begun, mut same) = (Vec::new(), Vec::new());
    for one in all {
        match one {
            Begun::New(session, _) => begun.push(session.id),
            Begun::Same(session) => same.push(session.id),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((begun.len(), same.len()), (1, 19));
    assert!(same.iter().all(|id| *id == begun[0]));
    assert_eq!(count(&test, "auth_log").await, "1");

    let late = open(&test).begin(keyed(30, 601)).await.expect("written");
    assert!(matches!(late, Begun::KeyReused), "{late:?}");
    test.sql("UPDATE sessions SET generation = 1").await;
    let refreshed = open(&test).begin(keyed(31, 1)).await.expect("written");
    assert!(matches!(refreshed, Begun::KeyReused), "{refreshed:?}");
}

#[rstest]
#[tokio::test]
async fn a_login_is_repeated_across_a_rotation_of_the_secret(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    new_session(&test, 1).await;
    let before = NewSession {
        login_key: Some([3; 32]),
        ..session(2, 0)
    };
    let begun = open(&test).begin(before).await.expect("written");
    assert!(matches!(begun, Begun::New(..)), "{begun:?}");
    let after = NewSession {
        login_key: Some([4; 32]),
        previous_login_key: Some([3; 32]),
        ..session(3, 1)
    };
    let begun = open(&test).begin(after).await.expect("written");
    let Begun::Same(same) = begun else {
        panic!("{begun:?}");
    };
    assert_eq!(same.id, SessionId::new(Uuid::from_u128(2)));
    assert_eq!(
        count(&test, "sessions WHERE login_key IS NOT NULL").await,
        "1"
    );
}

#[rstest]
#[tokio::test]
async fn the_oldest_of_too_many_sessions_ends(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    // The first session.
    new_session(&test, 1).await;
    for number in 2..=50 {
        let new = session(number, i64::try_from(number).expect("small"));
        let begun = open(&test).begin(new).await.expect("written");
        assert!(
            matches!(&begun, Begun::New(_, ended) if ended.is_empty()),
            "{begun:?}"
        );
    }
    let begun = open(&test).begin(session(51, 100)).await.expect("written");
    let Begun::New(_, ended) = begun else {
        panic!("{begun:?}");
    };
    assert_eq!(ended, [SessionId::new(Uuid::from_u128(1))]);
    assert_eq!(count(&test, "sessions WHERE ended_at IS NULL").await, "50");
    assert_eq!(count(&test, "revocations").await, "1");
}

#[rstest]
#[tokio::test]
async fn an_account_is_found_by_its_canonical_address(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    new_session(&test, 1).await;
    test.sql(
        "INSERT INTO users_read (id, name, email, email_canonical, display_name, created_at) \
         SELECT id, name, 'Ada1@example.org', email_canonical, 'Ada', created_at FROM users",
    )
    .await;
    let of = async |address: &str| {
        let found = open(&test).account(address.to_owned()).await;
        found.expect("read")
    };
    let found = of("ada1@example.org").await.expect("an account");
    assert_eq!(found.user.email, "Ada1@example.org");
    assert_eq!(found.password_hash, "!");
    assert!(!found.is_suspended && !found.is_verified);
    test.sql("UPDATE users SET status = 'suspended', email_verified_at = created_at")
        .await;
    let found = of("ada1@example.org").await.expect("an account");
    assert!(found.is_suspended && found.is_verified);
    assert!(of("ada2@example.org").await.is_none());
}
