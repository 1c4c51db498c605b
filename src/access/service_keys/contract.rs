//! Tests of the keys of machines, on each database.

use std::sync::Arc;

use chrono::TimeDelta;
use rstest::rstest;
use secrecy::{ExposeSecret, SecretString};

use super::{CreateOutcome, Issued, NewKey, RotateOutcome, ServiceKeys};
use crate::access::feed::Feed;
use crate::access::testing::{change, count};
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::domain::{Name, Permission, Permissions};
use crate::platform::clock::{SystemClock, SystemRandomness};
use crate::platform::database::testing::TestDatabase;
use crate::tokens::secrets::TokenSecrets;
use crate::tokens::service_key::{Presented, ServiceKeyId};

const READ: Permissions = Permissions::of(&[Permission::UsersRead]);

struct Keys {
    store: ServiceKeys,
    feed: Arc<Feed>,
    secrets: Arc<TokenSecrets>,
}

impl Keys {
    fn new(test: &TestDatabase) -> Self {
        let secret = SecretString::from("a secret of thirty-two bytes or more");
        let secrets = Arc::new(TokenSecrets::new(&secret, None));
        let database = test.database.clone();
        let feed = Arc::new(Feed::new(database.clone(), Arc::new(SystemClock)));
        let randomness = Arc::new(SystemRandomness);
        Self {
            store: ServiceKeys::new(
                database,
                Arc::clone(&secrets),
                randomness,
                Some(Arc::clone(&feed)),
            ),
            feed,
            secrets,
        }
    }

    async fn create(&self, permissions: Permissions) -> Issued {
        let mut change = change();
        change.at = chrono::DateTime::from_timestamp(4_000_000_000, 0).expect("in range");
        let new = new(permissions, 90);
        match self.store.create(new, Permissions::ALL, change).await {
            Ok(CreateOutcome::Created(issued, _)) => issued,
            _ => panic!("not created"),
        }
    }

    async fn rotate(&self, id: &ServiceKeyId) -> Issued {
        let rotated = self.store.rotate(id.clone(), Permissions::ALL, change());
        match rotated.await.expect("written") {
            RotateOutcome::Rotated(issued) => issued,
            _ => panic!("not rotated"),
        }
    }

    /// Whether this instance accepts a key.
    fn accepts(&self, key: &Issued) -> bool {
        let presented = Presented::parse(key.text.expose_secret()).expect("well formed");
        let known = self.feed.service_key(presented.id.as_str());
        known.is_some_and(|known| {
            let mut hashes = known.hashes.iter();
            hashes.any(|hash| presented.has_hash(hash, &self.secrets))
        })
    }
}

fn new(permissions: Permissions, days: u32) -> NewKey {
    NewKey {
        name: Name::parse("dashboard").expect("valid"),
        permissions,
        days,
    }
}

#[rstest]
#[tokio::test]
async fn a_key_is_accepted_at_once_and_its_secret_is_not_stored(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    let keys = Keys::new(&test);
    let issued = keys.create(READ).await;
    assert!(keys.accepts(&issued));
    let known = keys.feed.service_key(issued.id.as_str()).expect("known");
    assert_eq!(known.permissions, READ);
    let (page, has_more) = keys.store.page("").await.expect("read");
    assert_eq!((page.len(), has_more), (1, false));
    let listed = &page[0];
    assert_eq!(listed.id, issued.id.as_str());
    assert_eq!(
        (listed.name.as_str(), listed.created_by.as_str()),
        ("dashboard", "cli")
    );
    assert_eq!(listed.expires_at - listed.created_at, TimeDelta::days(90));
    assert_eq!((listed.last_used_on, listed.revoked_at), (None, None));
    assert!(!listed.is_rotating);
    let logged = "auth_log WHERE action = 'service_key.created' AND actor = 'cli'";
    assert_eq!(count(&test, logged).await, "1");
    let (rest, _) = keys.store.page(&listed.id).await.expect("read");
    assert!(rest.is_empty());
}

#[rstest]
#[tokio::test]
async fn a_key_has_no_more_rights_than_who_makes_or_rotates_it(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    let keys = Keys::new(&test);
    let write = Permissions::of(&[Permission::UsersWrite]);
    let created = keys.store.create(new(READ.union(write), 1), READ, change());
    let created = created.await.expect("read");
    assert!(matches!(created, CreateOutcome::Lacking(lacking) if lacking == write));
    assert_eq!(count(&test, "service_keys").await, "0");
    let issued = keys.create(READ.union(write)).await;
    let rotated = keys.store.rotate(issued.id.clone(), READ, change());
    let rotated = rotated.await.expect("read");
    assert!(matches!(rotated, RotateOutcome::Lacking(lacking) if lacking == write));
    assert_eq!(
        count(&test, "service_keys WHERE next_hash IS NULL").await,
        "1"
    );
}

#[rstest]
#[tokio::test]
async fn a_rotation_overlaps_until_it_is_finished(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let keys = Keys::new(&test);
    let first = keys.create(READ).await;
    let lost = keys.rotate(&first.id).await;
    assert!(keys.accepts(&first) && keys.accepts(&lost));
    let second = keys.rotate(&first.id).await;
    assert!(keys.accepts(&first) && keys.accepts(&second) && !keys.accepts(&lost));
    for _ in 0..2 {
        let known = keys.store.finish_rotation(first.id.clone(), change()).await;
        assert!(known.expect("written"));
        assert!(!keys.accepts(&first) && keys.accepts(&second));
    }
    let logged = "auth_log WHERE action = 'service_key.rotation_finished'";
    assert_eq!(count(&test, logged).await, "1");
}

#[rstest]
#[tokio::test]
async fn a_revoked_key_stays_revoked(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let keys = Keys::new(&test);
    let issued = keys.create(READ).await;
    let next = keys.rotate(&issued.id).await;
    for _ in 0..2 {
        let known = keys.store.revoke(issued.id.clone(), change()).await;
        assert!(known.expect("written"));
        assert!(!keys.accepts(&issued) && !keys.accepts(&next));
    }
    assert_eq!(
        count(&test, "auth_log WHERE action = 'service_key.revoked'").await,
        "1"
    );
    let rotated = keys.store.rotate(issued.id, Permissions::ALL, change());
    assert!(matches!(
        rotated.await.expect("read"),
        RotateOutcome::NoSuchKey
    ));
    let unknown = ServiceKeyId::parse("0000000000").expect("valid");
    assert!(
        !keys
            .store
            .revoke(unknown.clone(), change())
            .await
            .expect("read")
    );
    let finished = keys.store.finish_rotation(unknown, change()).await;
    assert!(!finished.expect("read"));
}
