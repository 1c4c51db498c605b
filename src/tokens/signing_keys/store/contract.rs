//! Tests of the contract of [`KeyStore`], on each database.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::platform::database::testing::TestDatabase;
use crate::tokens::signing_keys::schedule::{self, KEPT_FOR, PUBLISHED_FOR, State};

fn at(seconds: u64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn key(kid: &str) -> NewKey {
    NewKey {
        kid: kid.to_owned(),
        alg: "ES256",
        public_jwk: json!({"kid": kid}),
        private_sealed: kid.as_bytes().to_vec(),
    }
}

/// The keys with their states.
async fn states(store: &KeyStore, now: DateTime<Utc>) -> Vec<(String, State)> {
    let keys = store.all().await.expect("read");
    let times: Vec<Times> = keys.iter().map(|key| key.times).collect();
    let states = schedule::states(&times, now);
    keys.into_iter().map(|key| key.kid).zip(states).collect()
}

macro_rules! assert_states {
    ($store:expr, $now:expr, [$(($kid:literal, $state:ident)),*]) => {
        let expected: &[(String, State)] = &[$(($kid.to_owned(), State::$state)),*];
        assert_eq!(states($store, $now).await, expected);
    };
}

/// A store with the key `a`, active since the start.
async fn with_first(test: &TestDatabase) -> KeyStore {
    let store = KeyStore::new(test.database.clone());
    assert!(store.insert_first(key("a"), at(0)).await.expect("written"));
    store
}

const fn later(duration: Duration) -> u64 {
    duration.as_secs()
}

/// When a key that was made at this time signs.
const fn signs(made: u64) -> u64 {
    made + later(PUBLISHED_FOR)
}

#[rstest]
#[tokio::test]
async fn a_key_is_read_as_it_was_written(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let store = with_first(&test).await;
    let keys = store.all().await.expect("read");
    let expected = StoredKey {
        kid: "a".to_owned(),
        alg: "ES256".to_owned(),
        private_sealed: b"a".to_vec(),
        times: Times::at_once(at(0)),
    };
    assert!(keys == [expected]);
    let jwk = test
        .sql("SELECT CAST(public_jwk AS TEXT) FROM signing_keys")
        .await;
    let jwk: Value = serde_json::from_str(&jwk[0]).expect("JSON");
    assert_eq!(jwk, json!({"kid": "a"}));
}

#[rstest]
#[tokio::test]
async fn of_instances_that_start_together_one_makes_the_first_key(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    let store = KeyStore::new(test.database.clone());
    let kids: Vec<String> = (0..10).map(|number| format!("key {number}")).collect();
    let inserts = kids.iter().map(|kid| store.insert_first(key(kid), at(0)));
    let inserted = join_all(inserts).await;
    let inserted = inserted
        .into_iter()
        .map(|outcome| outcome.expect("written"));
    assert_eq!(inserted.filter(|inserted| *inserted).count(), 1);
    assert_eq!(store.all().await.expect("read").len(), 1);
}

#[rstest]
#[tokio::test]
async fn a_rotation_publishes_before_it_replaces(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let store = with_first(&test).await;
    let rotated = store.rotate(key("b"), at(0), at(100)).await;
    assert!(rotated.expect("written"));
    assert_states!(&store, at(100), [("a", Active), ("b", Published)]);
    assert_states!(
        &store,
        at(signs(100) - 1),
        [("a", Active), ("b", Published)]
    );
    assert_states!(&store, at(signs(100)), [("a", Retired), ("b", Active)]);
    let removed = signs(100) + later(KEPT_FOR);
    assert_states!(&store, at(removed - 1), [("a", Retired), ("b", Active)]);
    assert_states!(&store, at(removed), [("a", Removed), ("b", Active)]);

    let early = store.rotate(key("c"), at(signs(100) - 1), at(200)).await;
    assert!(
        !early.expect("asked"),
        "the head has not been active for long enough"
    );
    let rotated = store.rotate(key("c"), at(removed), at(removed)).await;
    assert!(rotated.expect("written"));
    assert_states!(&store, at(removed), [("b", Active), ("c", Published)]);
}

#[rstest]
#[tokio::test]
async fn of_instances_that_rotate_together_one_does(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let store = with_first(&test).await;
    let kids: Vec<String> = (0..10).map(|number| format!("key {number}")).collect();
    let rotations = kids
        .iter()
        .map(|kid| store.rotate(key(kid), at(50), at(100)));
    let rotated = join_all(rotations).await;
    let rotated = rotated.into_iter().map(|outcome| outcome.expect("written"));
    assert_eq!(rotated.filter(|rotated| *rotated).count(), 1);
    assert_eq!(store.all().await.expect("read").len(), 2);
}

#[rstest]
#[tokio::test]
async fn a_revoked_key_is_replaced_at_once(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let store = with_first(&test).await;
    let revoked = store.revoke("a".to_owned(), key("b"), at(100)).await;
    assert_eq!(revoked.expect("written"), Revoked::Replaced);
    assert_states!(&store, at(100), [("b", Active)]);
    let again = store.revoke("a".to_owned(), key("c"), at(100)).await;
    assert_eq!(again.expect("asked"), Revoked::Unknown);
    assert_states!(&store, at(100), [("b", Active)]);
}

#[rstest]
#[tokio::test]
async fn the_published_key_signs_if_the_active_one_is_revoked(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    let store = with_first(&test).await;
    store
        .rotate(key("b"), at(100), at(100))
        .await
        .expect("written");
    let revoked = store.revoke("a".to_owned(), key("c"), at(200)).await;
    assert_eq!(revoked.expect("written"), Revoked::Removed);
    assert_states!(&store, at(200), [("b", Active)]);
    assert!(
        store
            .rotate(key("d"), at(200), at(200))
            .await
            .expect("written")
    );
}

#[rstest]
#[tokio::test]
async fn the_active_key_goes_on_if_the_published_one_is_revoked(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    let store = with_first(&test).await;
    store
        .rotate(key("b"), at(100), at(100))
        .await
        .expect("written");
    let revoked = store.revoke("b".to_owned(), key("c"), at(200)).await;
    assert_eq!(revoked.expect("written"), Revoked::Removed);
    assert_states!(&store, at(200), [("a", Active)]);
    assert_states!(&store, at(1_000_000), [("a", Active)]);
    assert!(
        store
            .rotate(key("d"), at(200), at(200))
            .await
            .expect("written")
    );
}

#[rstest]
#[tokio::test]
async fn a_retired_key_is_revoked_alone(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let store = with_first(&test).await;
    store
        .rotate(key("b"), at(100), at(100))
        .await
        .expect("written");
    let now = signs(100) + 1;
    let revoked = store.revoke("a".to_owned(), key("c"), at(now)).await;
    assert_eq!(revoked.expect("written"), Revoked::Removed);
    assert_states!(&store, at(now), [("b", Active)]);
    assert_eq!(
        store.all().await.expect("read")[0].times.active_from,
        at(signs(100)),
        "as before"
    );
}

#[rstest]
#[tokio::test]
async fn rotations_and_revocations_at_once_leave_one_head(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    let store = with_first(&test).await;
    let kids: Vec<String> = (0..12).map(|number| format!("key {number:02}")).collect();
    let changes = kids.iter().enumerate().map(|(number, kid)| {
        let store = &store;
        async move {
            if number % 2 == 0 {
                store.rotate(key(kid), at(100), at(100)).await.map(drop)
            } else {
                store
                    .revoke("a".to_owned(), key(kid), at(100))
                    .await
                    .map(drop)
            }
        }
    });
    for changed in join_all(changes).await {
        changed.expect("written");
    }
    let keys = store.all().await.expect("read");
    let heads = keys.iter().filter(|key| key.times.retired_at.is_none());
    assert_eq!(heads.count(), 1);
    let active = states(&store, at(100)).await;
    let active = active.iter().filter(|(_, state)| *state == State::Active);
    assert_eq!(active.count(), 1);
}

#[rstest]
#[tokio::test]
async fn a_key_is_sealed_again_once(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let store = with_first(&test).await;
    assert!(store.reseal("a", b"a", b"new").await.expect("written"));
    assert!(!store.reseal("a", b"a", b"other").await.expect("asked"));
    assert!(!store.reseal("b", b"new", b"other").await.expect("asked"));
    assert_eq!(store.all().await.expect("read")[0].private_sealed, b"new");
}
