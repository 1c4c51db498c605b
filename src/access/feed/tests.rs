use std::sync::Arc;

use rstest::rstest;
use uuid::Uuid;

use super::*;
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::platform::clock::SettableClock;
use crate::platform::database::testing::TestDatabase;
use crate::platform::database::{End, UnitOfWork};

/// How long a revocation is kept.
const KEPT: Duration = Duration::from_mins(65);

struct Revoking(Uuid, Revocation, DateTime<Utc>);

impl UnitOfWork for Revoking {
    type Outcome = ();

    async fn run(&self, transaction: &mut Transaction) -> Result<End<()>, Error> {
        let Self(id, revocation, at) = self;
        revoke(transaction, *id, *revocation, "revoked", *at).await?;
        Ok(End::Commit(()))
    }
}

fn session(number: u128) -> SessionId {
    SessionId::new(Uuid::from_u128(number))
}

fn user(number: u128) -> UserId {
    UserId::new(Uuid::from_u128(number))
}

const FIRST: TokenEpoch = TokenEpoch::new(0);
const SECOND: TokenEpoch = TokenEpoch::new(1);

async fn followed(test: &TestDatabase) -> (Feed, Arc<SettableClock>) {
    let clock = Arc::new(SettableClock::default());
    let feed = Feed::new(test.database.clone(), clock.clone());
    feed.read().await.expect("read");
    (feed, clock)
}

#[rstest]
#[tokio::test]
async fn a_revocation_is_known_after_the_next_read(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let (feed, clock) = followed(&test).await;
    let standing = async |number, epoch| {
        let standing = feed.standing(session(number), user(number), epoch).await;
        standing.expect("no store is asked")
    };
    let all = [
        Revocation::Session(session(1)),
        Revocation::User(user(2), SECOND),
        Revocation::Erased(user(3)),
    ];
    for (id, revocation) in (1..).zip(all) {
        // A row that was stamped before the last read, and committed after it.
        let at = clock.now() - TimeDelta::seconds(30);
        let revoking = Revoking(Uuid::from_u128(id), revocation, at);
        test.database.write(revoking).await.expect("written");
    }
    assert_eq!(standing(1, FIRST).await, Standing::Good);
    feed.read().await.expect("read");
    assert_eq!(standing(1, FIRST).await, Standing::Revoked);
    assert_eq!(standing(2, FIRST).await, Standing::Revoked);
    assert_eq!(standing(2, SECOND).await, Standing::Good);
    assert_eq!(standing(3, SECOND).await, Standing::Erased);
    assert_eq!(standing(4, FIRST).await, Standing::Good);
}

#[rstest]
#[tokio::test]
async fn without_news_the_database_is_asked(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let (feed, clock) = followed(&test).await;
    let id = crate::slices::sessions::testing::new_session(&test, 1).await;
    clock.advance(STALE_AFTER + Duration::from_secs(1));
    let standing = async |epoch| feed.standing(id, user(1), epoch).await.expect("read");
    assert_eq!(standing(FIRST).await, Standing::Good);
    test.sql("UPDATE users SET token_epoch = 1").await;
    assert_eq!(standing(FIRST).await, Standing::Revoked);
    assert_eq!(standing(SECOND).await, Standing::Good);
    test.sql("UPDATE sessions SET ended_at = created_at").await;
    assert_eq!(standing(SECOND).await, Standing::Revoked);
    test.sql("DELETE FROM users").await;
    assert_eq!(standing(SECOND).await, Standing::Revoked);
}

#[tokio::test]
async fn revocations_come_in_any_order_and_are_forgotten() {
    let test = TestDatabase::new(Sqlite).await;
    let (feed, clock) = followed(&test).await;
    feed.add(Revocation::User(user(1), TokenEpoch::new(5)));
    feed.add(Revocation::User(user(1), TokenEpoch::new(3)));
    let standing = async |epoch| {
        let epoch = TokenEpoch::new(epoch);
        feed.standing(session(9), user(1), epoch)
            .await
            .expect("read")
    };
    assert_eq!(standing(4).await, Standing::Revoked);
    assert_eq!(standing(5).await, Standing::Good);
    feed.add(Revocation::Erased(user(1)));
    feed.add(Revocation::User(user(1), TokenEpoch::new(3)));
    assert_eq!(standing(5).await, Standing::Erased);
    // A token from before has expired by then.
    clock.advance(KEPT + Duration::from_mins(1));
    feed.read().await.expect("read");
    assert_eq!(standing(5).await, Standing::Good);
}

#[tokio::test]
async fn roles_permit_what_they_are_made_of() {
    let test = TestDatabase::new(Sqlite).await;
    test.sql("INSERT INTO roles VALUES ('desk', 1)").await;
    test.sql("INSERT INTO role_permissions VALUES ('desk', 'users:read'), ('desk', 'of:later')")
        .await;
    let (feed, _) = followed(&test).await;
    let read = Permissions::of(&[Permission::UsersRead]);
    assert_eq!(feed.permissions(["user", "desk"]), read);
    assert_eq!(feed.permissions(["unknown"]), Permissions::NONE);
    assert_eq!(feed.permissions(["desk", "admin"]), Permissions::ALL);
}

#[rstest]
#[tokio::test]
async fn a_service_key_is_accepted_until_it_is_revoked_or_expires(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    let (feed, clock) = followed(&test).await;
    let time = |at: DateTime<Utc>| match backend {
        Sqlite => at.timestamp_micros().to_string(),
        Postgres => format!("'{}'", at.to_rfc3339()),
    };
    let hash = match backend {
        Sqlite => format!("x'{}'", "ab".repeat(32)),
        Postgres => format!("'\\x{}'", "ab".repeat(32)),
    };
    let (now, later) = (time(clock.now()), time(clock.now() + TimeDelta::hours(1)));
    test.sql(&format!(
        "INSERT INTO service_keys \
         (id, name, secret_hash, permissions, created_by, created_at, expires_at) \
         VALUES ('abc', 'robot', {hash}, '[\"users:read\",\"of:later\"]', 'cli', {now}, {later})"
    ))
    .await;
    assert!(feed.service_key("abc").is_none());
    let key = feed.look_up_key("abc").await.expect("read").expect("a key");
    assert_eq!(key.hashes, [[0xab; 32]]);
    assert_eq!(key.permissions, Permissions::of(&[Permission::UsersRead]));
    // It is not asked for again within a second.
    assert!(feed.look_up_key("other").await.expect("not read").is_none());

    let day = DateTime::from_timestamp(1_700_006_400, 0).expect("in range");
    assert!(feed.note_use("abc", day) && !feed.note_use("abc", day));
    feed.record_use("abc", day).await.expect("written");
    feed.read().await.expect("read");
    let used = feed.service_key("abc").expect("a key").last_used_on;
    assert_eq!(used, Some(day));

    clock.advance(Duration::from_mins(61));
    assert!(feed.service_key("abc").is_none(), "it has expired");
    test.sql(&format!("UPDATE service_keys SET revoked_at = {now}"))
        .await;
    feed.read().await.expect("read");
    assert!(feed.service_key("abc").is_none());
}
