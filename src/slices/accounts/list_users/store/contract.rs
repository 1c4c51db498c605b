//! Tests of the contract of [`by_email`] and [`page`], on each database.

use std::cmp::Reverse;

use chrono::DateTime;
use rstest::rstest;
use uuid::Uuid;

use super::{FIRST_PAGE, NEXT_PAGE, Page, Position, by_email, page};
use crate::config::Backend::{self, Postgres, Sqlite};
use crate::domain::{Email, StoreError, UserId};
use crate::platform::database::Database;
use crate::platform::database::testing::TestDatabase;
use crate::slices::user::User;

const START: i64 = 1_700_000_000_000_000;

/// A user with this id, created this many microseconds after the start.
fn user(number: u128, micros: i64) -> User {
    User {
        id: UserId::new(Uuid::from_u128(number)),
        name: format!("Ada Lovelace {number}"),
        email: format!("ada{number}@example.org"),
        display_name: format!("Ada {number}"),
        created_at: DateTime::from_timestamp_micros(START + micros).expect("in range"),
    }
}

/// Unordered users, several per microsecond, with ids that differ in every byte.
fn crowd(size: u128) -> Vec<User> {
    (1..=size)
        .map(|number| {
            let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            user(id, i64::try_from(id >> 64 & 0xf).expect("small"))
        })
        .collect()
}

fn newest_first(mut users: Vec<User>) -> Vec<User> {
    users.sort_by_key(|user| Reverse((user.created_at, user.id)));
    users
}

fn behind(user: &User) -> Position {
    Position {
        created_at: user.created_at,
        id: user.id,
    }
}

/// Reads from a position to the end, page by page.
async fn rest(database: &Database, limit: u32, mut after: Option<Position>) -> Vec<User> {
    let mut users = Vec::new();
    loop {
        let page = page(database, limit, after).await.expect("a page");
        assert!(page.users.len() <= limit as usize, "{}", page.users.len());
        if page.has_more {
            assert_eq!(
                page.users.len(),
                limit as usize,
                "a page before the last is full"
            );
        }
        after = page.users.last().map(behind);
        users.extend(page.users);
        if !page.has_more {
            return users;
        }
    }
}

#[rstest]
#[tokio::test]
async fn all_pages_together_are_the_list(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let users = crowd(120);
    test.project(&users).await;
    let expected = newest_first(users);

    for limit in [1, 2, 3, 7, 40, 59, 60, 119, 120, 121, 1000] {
        let found = rest(&test.database, limit, None).await;
        assert!(found == expected, "limit {limit}: {found:?}");
    }
}

#[rstest]
#[tokio::test]
async fn users_of_one_microsecond_are_ordered_by_id(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    // Ids on both sides of every sign and byte order by which a database might compare.
    let ids = [
        1,
        0x7f << 120,
        0x80 << 120,
        u128::MAX,
        1 << 64,
        0x0100,
        0x00ff,
    ];
    let users: Vec<User> = ids.iter().map(|id| user(*id, 0)).collect();
    test.project(&users).await;
    let expected = newest_first(users);

    let found = rest(&test.database, 2, None).await;
    assert!(found == expected, "{found:?}");
}

#[rstest]
#[tokio::test]
async fn an_empty_list_is_one_empty_page(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;

    let Page { users, has_more } = page(&test.database, 10, None).await.expect("a page");
    assert!(users.is_empty() && !has_more);
}

#[rstest]
#[tokio::test]
async fn a_signup_between_two_pages_moves_no_user(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    let users: Vec<User> = (1..=10).map(|n| user(n * 100, 10)).collect();
    test.project(&users).await;

    let first = page(&test.database, 4, None).await.expect("a page");
    let last = first.users.last().expect("four");
    // Newer than all, or of the same microsecond: before the position, and after it.
    let behind_it = [user(650, 10), user(50, 10), user(5000, 9)];
    let before_it = [user(1, 11), user(750, 10), user(2000, 10)];
    test.project(&behind_it).await;
    test.project(&before_it).await;

    let found = rest(&test.database, 4, Some(behind(last))).await;
    let unread = users.into_iter().filter(|user| user.id < last.id);
    let expected = newest_first(unread.chain(behind_it).collect());
    assert!(found == expected, "{found:?}");
}

#[rstest]
#[tokio::test]
async fn a_position_stays_valid_without_its_user(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    test.project(&[user(1, 1), user(3, 3)]).await;

    let found = rest(&test.database, 5, Some(behind(&user(2, 2)))).await;
    assert!(found == [user(1, 1)], "{found:?}");
}

#[rstest]
#[tokio::test]
async fn an_address_is_found_by_its_canonical_form(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    test.project(&[user(1, 0), user(2, 0)]).await;

    for text in ["ada2@example.org", "ADA2@Example.ORG"] {
        let email = Email::parse(text).expect("valid");
        let found = by_email(&test.database, &email).await.expect("a response");
        assert!(found == Some(user(2, 0)), "{found:?}");
    }
    for text in ["ada3@example.org", "ada_@example.org", "ada+1@example.org"] {
        let email = Email::parse(text).expect("valid");
        let found = by_email(&test.database, &email).await.expect("a response");
        assert!(found.is_none(), "{found:?}");
    }
}

#[rstest]
#[tokio::test]
async fn only_the_projection_is_read(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    test.project(&[user(1, 0), user(2, 0)]).await;
    test.drop_tables(&["users", "user_events"]).await;

    let found = rest(&test.database, 1, None).await;
    assert!(found == [user(2, 0), user(1, 0)], "{found:?}");
    let email = Email::parse("ada1@example.org").expect("valid");
    let found = by_email(&test.database, &email).await.expect("a response");
    assert!(found == Some(user(1, 0)), "{found:?}");
}

#[rstest]
#[tokio::test]
async fn a_failing_store_returns_an_error(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    test.sql("ALTER TABLE users_read RENAME TO elsewhere").await;
    let error = page(&test.database, 1, None).await.err().expect("no table");
    assert!(matches!(error, StoreError::Broken(_)), "{error:?}");

    test.database.close().await;
    let error = page(&test.database, 1, None).await.err().expect("no pool");
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}

/// The plan of a statement whose first parameter is the limit, then the position.
async fn plan(test: &TestDatabase, statement: &str) -> String {
    let lines = match test.backend {
        Sqlite => {
            let filled = statement
                .replace("$1", "21")
                .replace("$2", &START.to_string())
                .replace("$3", "x'00'");
            test.sql(&format!("EXPLAIN QUERY PLAN {filled}")).await
        }
        Postgres => {
            let values = if statement.contains("$2") {
                "21, now(), '00000000-0000-0000-0000-000000000000'"
            } else {
                "21"
            };
            // The plan for any values: a prepared statement may come to use it.
            test.sql(&format!(
                "SET plan_cache_mode = force_generic_plan; \
                 PREPARE page AS {statement}; EXPLAIN EXECUTE page ({values})"
            ))
            .await
        }
    };
    lines.join("\n")
}

#[rstest]
#[tokio::test]
async fn a_page_is_found_by_the_index_and_not_sorted(#[values(Sqlite, Postgres)] backend: Backend) {
    let test = TestDatabase::new(backend).await;
    test.project(&crowd(5000)).await;
    test.sql("ANALYZE").await;
    let statements = [FIRST_PAGE.text(), NEXT_PAGE.text()];

    for statement in statements {
        let plan = plan(&test, statement).await;
        assert!(
            plan.contains("users_read_created_at_id_idx"),
            "{statement}:\n{plan}"
        );
        let sorts = ["Sort", "TEMP B-TREE"]
            .iter()
            .any(|step| plan.contains(step));
        assert!(!sorts, "{statement}:\n{plan}");
    }
    let plan = plan(&test, statements[1]).await;
    let seeks = [
        "Index Cond: (ROW(created_at, id) <",
        "(created_at,id)<(?,?)",
    ];
    assert!(seeks.iter().any(|seek| plan.contains(seek)), "{plan}");
}

/// A replica may lack a column for a moment, and is then not ready.
#[rstest]
#[tokio::test]
async fn readiness_reads_every_column_of_the_projection(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let test = TestDatabase::new(backend).await;
    let columns = match backend {
        Backend::Sqlite => "SELECT name FROM pragma_table_info('users_read')",
        Backend::Postgres => {
            "SELECT column_name::text FROM information_schema.columns \
             WHERE table_name = 'users_read'"
        }
    };
    let columns = test.sql(columns).await;
    assert!(columns.len() >= 6, "{columns:?}");
    for column in columns {
        assert!(super::IS_READABLE.text().contains(&column), "{column}");
    }
}
