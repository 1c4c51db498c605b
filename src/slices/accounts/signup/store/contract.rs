//! Tests of the contract of [`SignupStore`](super::SignupStore), on each database.

use std::time::Duration;

use chrono::DateTime;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use rstest::rstest;
use uuid::Uuid;

use super::{CreateAccount, NewAccount, Outcome};
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::domain::{Email, Name, PasswordHash, StoreError, UserId};
use crate::idempotency::record::{Record, Records};
use crate::idempotency::{Claim, Identity, KeyFingerprint, Keyed, RequestFingerprint};
use crate::platform::database::Database;
use crate::platform::database::testing::{Dropped, TestDatabase, poll_at_most};

/// The outcome of a signup.
#[derive(Debug, PartialEq, Eq)]
enum Written {
    Account,
    NothingEmailTaken,
    NothingAlreadyRecorded(Record),
}

/// The store, called as by an execution.
struct Store(Database);

fn open(database: &Database) -> Store {
    Store(database.clone())
}

impl Store {
    async fn sign_up(
        &self,
        account: &NewAccount,
        claim: Option<&Claim>,
    ) -> Result<Written, StoreError> {
        let signup = CreateAccount {
            account: account.clone(),
            taken: None,
        };
        let outcome = match claim {
            None => self.0.write(signup).await?,
            Some(claim) => {
                let keyed = Keyed {
                    claim: claim.clone(),
                    now: account.created_at,
                    request_id: account.correlation_id.clone(),
                    work: signup,
                };
                let Some((outcome, _)) = self.0.write(keyed).await? else {
                    let records = Records::new(self.0.clone());
                    let found = records.find(&claim.identities, account.created_at);
                    let record = found.await?.expect("the claim was lost to it");
                    return Ok(Written::NothingAlreadyRecorded(record));
                };
                outcome
            }
        };
        Ok(match outcome {
            Outcome::Created(user) => {
                assert_eq!(user, account.view());
                Written::Account
            }
            Outcome::EmailTaken => Written::NothingEmailTaken,
            Outcome::AccountErased => panic!("no one was erased"),
        })
    }
}

/// Far more than any signup needs.
const MAX_POLLS: usize = 200;

fn account(number: u128, email: &str) -> NewAccount {
    NewAccount {
        id: UserId::new(Uuid::from_u128(number)),
        event_id: Uuid::from_u128(number << 64),
        name: Name::parse("Ada Lovelace").expect("valid"),
        display_name: Name::parse("Ada").expect("valid"),
        locale: None,
        email: Email::parse(email).expect("valid"),
        password_hash: PasswordHash::new(format!("hash of {number}")),
        created_at: DateTime::from_timestamp_micros(1_700_000_000_123_456).expect("in range"),
        correlation_id: format!("correlation {number}"),
        actor: None,
        imported: None,
        verification: None,
    }
}

/// The ids, as hexadecimal digits, in each table for an address.
async fn ids_of(test: &TestDatabase, canonical: &str) -> Vec<String> {
    let (id, user_id) = (test.hex("id"), test.hex("user_id"));
    let email = match test.backend {
        Sqlite => "lower(payload ->> '$.email')",
        Postgres => "lower(payload ->> 'email')",
    };
    test.sql(&format!(
        "SELECT {id} FROM users WHERE email_canonical = '{canonical}' \
         UNION ALL SELECT {id} FROM users_read WHERE email_canonical = '{canonical}' \
         UNION ALL SELECT {user_id} FROM user_events WHERE {email} = '{canonical}'"
    ))
    .await
}

fn hex(account: &NewAccount) -> String {
    account.id.as_uuid().simple().to_string()
}

#[rstest]
#[tokio::test]
async fn a_signup_writes_its_three_rows(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let store = open(&test.database);
    let account = account(7, "Ada@BÜCHER.example");

    let written = store.sign_up(&account, None).await.expect("written");

    assert_eq!(written, Written::Account);
    let id = hex(&account);
    let (hex_id, created, updated) = (
        test.hex("id"),
        test.micros("created_at"),
        test.micros("updated_at"),
    );
    let users = test
        .sql(&format!(
            "SELECT {hex_id} || '|' || name || '|' || email || '|' || email_canonical || '|' || \
             password_hash || '|' || {created} || '|' || {updated} FROM users"
        ))
        .await;
    assert_eq!(
        users,
        [format!(
            "{id}|Ada Lovelace|Ada@BÜCHER.example|ada@xn--bcher-kva.example|hash of 7|\
             1700000000123456|1700000000123456"
        )]
    );
    let users_read = test
        .sql(&format!(
            "SELECT {hex_id} || '|' || name || '|' || email || '|' || email_canonical || '|' || \
             display_name || '|' || {created} FROM users_read"
        ))
        .await;
    assert_eq!(
        users_read,
        [format!(
            "{id}|Ada Lovelace|Ada@BÜCHER.example|ada@xn--bcher-kva.example|Ada|1700000000123456"
        )]
    );
    let (event_id, user_id, occurred) = (
        test.hex("event_id"),
        test.hex("user_id"),
        test.micros("occurred_at"),
    );
    let events = test
        .sql(&format!(
            "SELECT {event_id} || '|' || {user_id} || '|' || type || '|' || schema_version || \
             '|' || {occurred} || '|' || correlation_id FROM user_events"
        ))
        .await;
    assert_eq!(
        events,
        [format!(
            "{}|{id}|user.signed_up|1|1700000000123456|correlation 7",
            account.event_id.simple()
        )]
    );
    let payload = test
        .sql("SELECT CAST(payload AS TEXT) FROM user_events")
        .await;
    let payload: serde_json::Value = serde_json::from_str(&payload[0]).expect("JSON");
    assert_eq!(
        payload,
        serde_json::json!({
            "id": account.id.to_string(),
            "name": "Ada Lovelace",
            "email": "Ada@BÜCHER.example",
            "display_name": "Ada",
        })
    );
}

/// The row that cannot be written.
#[derive(Debug, Clone, Copy)]
enum Fails {
    Users,
    UsersRead,
    UserEvents,
}

/// Guarantee A1.
#[rstest]
#[tokio::test]
async fn a_failing_row_rolls_back_the_others(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[values(Fails::Users, Fails::UsersRead, Fails::UserEvents)] fails: Fails,
) {
    let test = TestDatabase::new(backend).await;
    let store = open(&test.database);
    let first = account(1, "first@example.org");
    store.sign_up(&first, None).await.expect("written");
    let mut second = account(2, "second@example.org");
    match fails {
        Fails::Users => second.id = first.id,
        Fails::UsersRead => {
            let mut view = account(2, "elsewhere@example.org").view();
            view.email.make_ascii_lowercase();
            test.project(&[view]).await;
        }
        Fails::UserEvents => second.event_id = first.event_id,
    }
    let before = test.counts().await;

    let error = store
        .sign_up(&second, None)
        .await
        .expect_err("an id is taken");

    assert!(matches!(error, StoreError::Broken(_)), "{error:?}");
    assert_eq!(test.counts().await, before);
    assert!(ids_of(&test, "second@example.org").await.is_empty());
    let third = store.sign_up(&account(3, "third@example.org"), None).await;
    assert_eq!(third.expect("the store still works"), Written::Account);
}

#[rstest]
#[tokio::test]
async fn an_address_has_one_account_in_any_spelling(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let store = open(&test.database);
    let first = account(1, "ada@bücher.example");
    store.sign_up(&first, None).await.expect("written");

    for (number, typed) in [
        "ada@bücher.example",
        "ADA@xn--bcher-kva.example",
        "ada@BÜCHER.EXAMPLE",
    ]
    .iter()
    .enumerate()
    {
        let written = store
            .sign_up(&account(number as u128 + 10, typed), None)
            .await;
        assert_eq!(written.expect(typed), Written::NothingEmailTaken, "{typed}");
        assert_eq!(test.counts().await, [1, 1, 1], "{typed}");
    }
    for (number, typed) in [
        "a.da@bücher.example",
        "ada+1@bücher.example",
        "ada@bucher.example",
    ]
    .iter()
    .enumerate()
    {
        let written = store
            .sign_up(&account(number as u128 + 20, typed), None)
            .await;
        assert_eq!(written.expect(typed), Written::Account, "{typed}");
    }
    assert_eq!(test.counts().await, [4, 4, 4]);
}

#[rstest]
#[tokio::test]
async fn the_projection_does_not_decide_which_addresses_are_taken(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    let store = open(&test.database);
    test.project(&[account(1, "ada@example.org").view()]).await;

    let written = store.sign_up(&account(2, "ada@example.org"), None).await;
    assert_eq!(written.expect("written"), Written::Account);
    assert_eq!(test.counts().await, [1, 2, 1]);
}

#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_race_for_an_address_has_one_winner(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    for round in 0..5 {
        let email = format!("ada{round}@example.org");
        let runners = (1..=16_u128).map(|number| {
            let store = open(&test.database);
            let account = account(round * 100 + number, &email);
            tokio::spawn(async move {
                let written = store.sign_up(&account, None).await.expect("an outcome");
                (written == Written::Account).then(|| hex(&account))
            })
        });
        let outcomes = join_all(runners).await;
        let winners: Vec<String> = outcomes
            .into_iter()
            .filter_map(|outcome| outcome.expect("no panic"))
            .collect();

        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        let winner = winners[0].as_str();
        assert_eq!(ids_of(&test, &email).await, [winner; 3]);
    }
    assert_eq!(test.counts().await, [5, 5, 5]);
}

/// What drops a signup in progress.
#[derive(Debug, Clone, Copy)]
enum Dropper {
    /// A client that disconnects: the task continues.
    Caller,
    /// A time limit, or the end of the process: the transaction itself is dropped.
    Runtime,
    /// The same for a signup with a key.
    RuntimeWithKey,
}

/// Guarantee A4. Drops a signup after one more poll each time, until one completes; several times, as a quick
/// response is not waited for.
#[rstest]
#[tokio::test]
async fn a_signup_dropped_at_any_await_is_whole_or_nothing(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[values(Dropped::Waiting, Dropped::Woken)] dropped: Dropped,
    #[values(Dropper::Caller, Dropper::Runtime, Dropper::RuntimeWithKey)] dropper: Dropper,
) {
    let test = TestDatabase::new(backend).await;
    let store = open(&test.database);
    for sweep in 0..5 {
        for polls in 0.. {
            assert!(polls < MAX_POLLS, "not complete after {polls} polls");
            let email = format!("ada{sweep}.{polls}@example.org");
            let number = (sweep * MAX_POLLS + polls) as u128 * 2;
            let begun = account(number + 1, &email);
            let again = account(number + 2, &email);

            let ended = match dropper {
                Dropper::Caller => poll_at_most(polls, dropped, store.sign_up(&begun, None)).await,
                Dropper::Runtime => {
                    let signup = CreateAccount {
                        account: begun.clone(),
                        taken: None,
                    };
                    let work = test.database.transact(&signup);
                    let ended = poll_at_most(polls, dropped, work).await;
                    ended.map(|outcome| outcome.map(|_| Written::Account))
                }
                Dropper::RuntimeWithKey => {
                    let mut claim = claim(&[1]);
                    claim.identities[0].key.0[..16]
                        .copy_from_slice(&begun.id.as_uuid().into_bytes());
                    let keyed = Keyed {
                        claim,
                        now: begun.created_at,
                        request_id: String::new(),
                        work: CreateAccount {
                            account: begun.clone(),
                            taken: None,
                        },
                    };
                    let work = test.database.transact(&keyed);
                    let ended = poll_at_most(polls, dropped, work).await;
                    let key = begun.id.as_uuid().simple();
                    let digits = match backend {
                        Sqlite => "lower(hex(key_hash))",
                        Postgres => "encode(key_hash, 'hex')",
                    };
                    // A single statement, for a single snapshot: the commit may be in progress.
                    let counts = test
                        .sql(&format!(
                            "SELECT CAST(count(*) AS TEXT) FROM idempotency_records \
                             WHERE {digits} LIKE '{key}%' UNION ALL \
                             SELECT CAST(count(*) AS TEXT) FROM users \
                             WHERE email_canonical = '{email}'"
                        ))
                        .await;
                    assert_eq!(counts[0], counts[1], "{polls} polls");
                    ended.map(|outcome| outcome.map(|_| Written::Account))
                }
            };
            let ids = ids_of(&test, &email).await;
            let whole = [hex(&begun), hex(&begun), hex(&begun)];
            assert!(ids.is_empty() || ids == whole, "{polls} polls: {ids:?}");

            // A retry gets the true outcome, and finds the store consistent.
            let retried = store
                .sign_up(&again, None)
                .await
                .expect("the store still works");
            let owner = match retried {
                Written::Account => &again,
                Written::NothingEmailTaken => &begun,
                Written::NothingAlreadyRecorded(_) => panic!("there is no key"),
            };
            let ids = ids_of(&test, &email).await;
            assert_eq!(ids, [hex(owner), hex(owner), hex(owner)], "{polls} polls");
            if let Some(written) = ended {
                assert_eq!(written.expect("written"), Written::Account);
                assert_eq!(retried, Written::NothingEmailTaken);
                break;
            }
        }
    }
}

#[rstest]
#[tokio::test]
async fn a_lock_of_another_session_is_not_waited_for_without_end(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::with(backend, &[("REQUEST_TIMEOUT_MS", "2000")]).await;
    let store = open(&test.database);
    let held = test.hold_writes().await;

    let error = store
        .sign_up(&account(1, "ada@example.org"), None)
        .await
        .expect_err("locked");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");

    held.release().await;
    assert_eq!(test.counts().await, [0, 0, 0]);
    let written = store.sign_up(&account(1, "ada@example.org"), None).await;
    assert_eq!(written.expect("the store still works"), Written::Account);
}

#[tokio::test]
async fn a_read_only_postgres_is_unavailable() {
    let test = TestDatabase::new(Postgres).await;
    let store = open(&test.database);
    // Like a replica left behind by a fail-over. The pool opens its connections later.
    test.sql(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', \
         current_database()); END $$",
    )
    .await;

    let error = store
        .sign_up(&account(1, "ada@example.org"), None)
        .await
        .expect_err("read-only");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    assert_eq!(test.counts().await, [0, 0, 0]);
}

#[tokio::test]
async fn a_full_queue_for_sqlites_writer_is_refused_immediately() {
    let test = TestDatabase::new(Sqlite).await;
    let store = open(&test.database);
    let held = test.hold_writes().await;
    let accounts: Vec<NewAccount> = (1..=65)
        .map(|number| account(number, &format!("ada{number}@example.org")))
        .collect();

    let mut signups: FuturesUnordered<_> = accounts
        .iter()
        .map(|account| store.sign_up(account, None))
        .collect();
    let first = signups.next().await.expect("65");
    assert!(
        matches!(first, Err(StoreError::Unavailable(_))),
        "{first:?}"
    );

    held.release().await;
    while let Some(written) = signups.next().await {
        assert_eq!(written.expect("had its place"), Written::Account);
    }
    assert_eq!(test.counts().await, [64, 64, 64]);
}

#[rstest]
#[tokio::test]
async fn closed_pools_are_unavailable(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let store = open(&test.database);
    test.database.close().await;

    let error = store
        .sign_up(&account(1, "ada@example.org"), None)
        .await
        .expect_err("closed");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}

const DAY: Duration = Duration::from_hours(24);

/// A claim on these keys.
fn claim(keys: &[u8]) -> Claim {
    let identity = |key: &u8| Identity {
        key: KeyFingerprint([*key; 32]),
        request: RequestFingerprint([key.wrapping_add(100); 32]),
    };
    Claim {
        current: identity(&keys[0]),
        identities: keys.iter().map(identity).collect(),
        life: DAY,
    }
}

#[rstest]
#[tokio::test]
async fn a_record_is_kept_with_its_account(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let store = open(&test.database);
    let records = Records::new(test.database.clone());
    let now = account(1, "ada@example.org").created_at;

    for (number, key, expected) in [(1, 1, Written::Account), (2, 2, Written::NothingEmailTaken)] {
        let claim = claim(&[key]);
        let account = account(number, "ada@example.org");
        let written = store.sign_up(&account, Some(&claim)).await;
        assert_eq!(written.expect("written"), expected);
        let found = records.find(&claim.identities, now).await;
        let record = found.expect("a response").expect("there");
        let kept = if expected == Written::Account {
            Outcome::Created(account.view())
        } else {
            Outcome::EmailTaken
        };
        let outcome: Outcome = record.stored.read().expect("an outcome");
        assert!(outcome == kept && record.mismatches == 0);
        assert_eq!(record.stored.request_id, account.correlation_id);
        assert!(record.request == claim.identities[0].request);
    }
    assert_eq!(test.counts().await, [1, 1, 1]);
}

#[rstest]
#[tokio::test]
async fn a_key_has_one_outcome(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let store = open(&test.database);
    // As if sixteen instances did not know of each other; some know the previous secret.
    let calls = (0..16_u8).map(|number| {
        let store = &store;
        async move {
            let keys: &[u8] = if number % 2 == 0 { &[1, 2] } else { &[2] };
            let claim = claim(keys);
            let email = format!("ada{number}@example.org");
            let account = account(u128::from(number) + 1, &email);
            store
                .sign_up(&account, Some(&claim))
                .await
                .expect("a response")
        }
    });
    let outcomes = join_all(calls).await;
    let made = outcomes
        .iter()
        .filter(|written| **written == Written::Account);
    assert_eq!(made.count(), 1);
    let bodies: std::collections::BTreeSet<&[u8]> = outcomes
        .iter()
        .filter_map(|written| match written {
            Written::NothingAlreadyRecorded(record) => Some(record.stored.outcome.as_bytes()),
            _ => None,
        })
        .collect();
    assert_eq!(bodies.len(), 1, "one outcome for all");
    assert_eq!(test.counts().await, [1, 1, 1]);
}

#[rstest]
#[tokio::test]
async fn an_expired_record_counts_as_none_and_is_purged(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    let store = open(&test.database);
    let records = Records::new(test.database.clone());
    let first = claim(&[1]);
    let written = store
        .sign_up(&account(1, "ada@example.org"), Some(&first))
        .await;
    assert_eq!(written.expect("written"), Written::Account);

    let later = account(1, "ada@example.org").created_at + DAY;
    let found = records.find(&first.identities, later).await;
    assert!(found.expect("a response").is_none());
    let mut again = account(2, "bob@example.org");
    again.created_at = later;
    let second = claim(&[1]);
    let written = store.sign_up(&again, Some(&second)).await;
    assert_eq!(written.expect("written"), Written::Account);

    let none = Duration::ZERO;
    assert_eq!(records.purge(later, none, 10).await.expect("purged"), 0);
    let end = later + DAY;
    assert_eq!(records.purge(end, none, 10).await.expect("purged"), 1);
    assert_eq!(test.counts().await, [2, 2, 2]);
}

#[rstest]
#[tokio::test]
async fn a_failed_write_leaves_no_record(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let store = open(&test.database);
    let records = Records::new(test.database.clone());
    let claim = claim(&[1]);
    let begun = account(1, "ada@example.org");
    test.sql("DROP TABLE user_events").await;
    store
        .sign_up(&begun, Some(&claim))
        .await
        .expect_err("no history");
    let found = records.find(&claim.identities, begun.created_at).await;
    assert!(found.expect("a response").is_none());
}
