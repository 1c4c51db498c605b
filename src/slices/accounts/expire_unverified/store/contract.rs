//! Tests of the removal, on each database.

use rstest::rstest;

use super::*;
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::domain::TokenEpoch;
use crate::platform::clock::SystemRandomness;
use crate::platform::database::testing::TestDatabase;
use crate::slices::accounts::testing::{AddLink, new_user};
use crate::tokens::one_time::Grant;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).expect("in range")
}

fn user(number: u128) -> UserId {
    UserId::new(Uuid::from_u128(number))
}

/// A user with this number, who was sent a link for this use then.
async fn asked(test: &TestDatabase, number: u128, purpose: Use, second: i64) {
    new_user(test, number, "hash").await;
    again(test, number, purpose, second).await;
    // By the signup.
    let signed_up = "UPDATE users SET created_at = (SELECT min(t.created_at) FROM one_time_tokens t \
                     WHERE t.user_id = users.id) WHERE email LIKE ";
    test.sql(&format!("{signed_up} 'ada{number}@%'")).await;
}

async fn again(test: &TestDatabase, number: u128, purpose: Use, second: i64) {
    let grant = Grant {
        id: uuid_v7(at(second), &SystemRandomness),
        user: user(number),
        purpose,
        address: format!("ada{number}@example.org"),
        new_email: None,
        epoch: TokenEpoch::default(),
        expires_at: at(second) + links::life(purpose),
    };
    let added = test.database.write(AddLink(grant, at(second))).await;
    added.expect("written");
}

fn expiry(users: Vec<UserId>) -> Expiry {
    Expiry {
        users,
        at: at(100),
        randomness: Arc::new(SystemRandomness),
    }
}

async fn count(test: &TestDatabase, of: &str) -> String {
    let query = format!("SELECT CAST(count(*) AS text) FROM {of}");
    test.sql(&query).await.pop().expect("a count")
}

#[rstest]
#[tokio::test]
async fn users_are_due_some_time_after_they_were_first_asked(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    asked(&test, 1, Use::Verify, 10).await;
    asked(&test, 2, Use::Verify, 11).await;
    asked(&test, 3, Use::Verify, 10).await;
    // Another link does not give more time.
    again(&test, 3, Use::Verify, 50).await;
    // One who signed up before a verification was needed.
    new_user(&test, 4, "hash").await;
    asked(&test, 5, Use::Reset, 0).await;
    // A stranger has asked for the mail.
    new_user(&test, 6, "hash").await;
    again(&test, 6, Use::Verify, 1).await;
    assert_eq!(due(&test.database, at(9)).await.expect("read"), []);
    assert_eq!(
        due(&test.database, at(10)).await.expect("read"),
        [user(1), user(3)]
    );
    test.sql("UPDATE users SET email_verified_at = created_at WHERE email LIKE 'ada3%'")
        .await;
    assert_eq!(
        due(&test.database, at(11)).await.expect("read"),
        [user(1), user(2)]
    );
}

#[rstest]
#[tokio::test]
async fn a_removal_takes_along_what_belongs_to_the_user(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    for number in [1, 2] {
        asked(&test, number, Use::Verify, 0).await;
    }
    // Verified since it was looked up.
    test.sql("UPDATE users SET email_verified_at = created_at WHERE email LIKE 'ada2%'")
        .await;
    let removed = test
        .database
        .write(expiry(vec![user(1), user(2), user(3)]))
        .await;
    assert_eq!(removed.expect("written"), [user(1)]);
    for (of, expected) in [
        ("users", "1"),
        ("users_read", "1"),
        ("one_time_tokens", "1"),
        ("revocations WHERE reason = 'erased'", "1"),
        ("user_events WHERE type = 'user.expired'", "1"),
    ] {
        assert_eq!(count(&test, of).await, expected, "{of}");
    }
    let again = test.database.write(expiry(vec![user(1), user(2)])).await;
    assert_eq!(again.expect("written"), []);
    assert_eq!(count(&test, "user_events").await, "1");
}
