//! Connections to PostgreSQL: sharing under a low limit of the server, and changes of the schema.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rstest::rstest;
use serde_json::Value;

use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Database, Service, run, signup_body,
};

/// Requests refused during a burst are served within this time.
const RECOVERY: Duration = Duration::from_secs(5);

/// Creates a role with a connection limit, and returns its database URL.
fn limited_role(database: &Database, limit: i32) -> String {
    let Database::Postgres(postgres) = database else {
        unreachable!("roles are PostgreSQL's");
    };
    let migrated = run(&["migrate"], &[("DATABASE_URL", &database.url())]);
    assert!(migrated.status.success(), "{migrated:?}");
    let role = format!("limited_{}", postgres.name());
    let _ = postgres.sql(&format!(
        "CREATE ROLE {role} LOGIN CONNECTION LIMIT {limit}; \
         GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"
    ));
    database.url().replace("//postgres@", &format!("//{role}@"))
}

async fn status_of(service: &Service, path: &str) -> u16 {
    service.get(path).await.status().as_u16()
}

/// Signs up a user, retrying until it succeeds.
async fn sign_up_with_retries(service: &Service, email: &str) {
    let begun = Instant::now();
    loop {
        let request = service.signup(&signup_body(email));
        let sent = request.header("Idempotency-Key", email).send();
        match sent.await.expect("a response").status().as_u16() {
            201 => return,
            503 => assert!(begun.elapsed() < 4 * RECOVERY, "{email} is still refused"),
            other => panic!("{email}: {other}"),
        }
        tokio::task::yield_now().await;
    }
}

#[rstest]
#[tokio::test]
async fn reads_and_signups_share_the_available_connections(#[values(3, 4, 6)] limit: i32) {
    let database = Arc::new(Database::new(Postgres));
    let url = limited_role(&database, limit);
    let settings = [
        ("DATABASE_URL", url.as_str()),
        ("DATABASE_MIGRATE", "false"),
        ("DATABASE_MAX_CONNECTIONS", "10"),
        ("HTTP_WORKERS", "4"),
    ];
    let service = Service::start_on(database, &settings).await;
    // Every thread has read before, and has its own connection if possible.
    join_all((0..40).map(|_| status_of(&service, "/users"))).await;
    let clients = (0..12).map(|client| {
        let service = &service;
        async move {
            for number in 0..6 {
                sign_up_with_retries(service, &format!("c{client}n{number}@example.org")).await;
            }
        }
    });
    join_all(clients).await;

    let end = Instant::now() + RECOVERY;
    let mut last_refused = Instant::now();
    let mut reads = 0;
    while Instant::now() < end {
        let statuses = join_all((0..12).map(|_| status_of(&service, "/users?limit=1"))).await;
        reads += statuses.len();
        if statuses.iter().any(|status| *status != 200) {
            last_refused = Instant::now();
        }
        assert_eq!(
            status_of(&service, "/ready").await,
            200,
            "after {reads} reads"
        );
        if reads > 600 && last_refused.elapsed() > RECOVERY / 4 {
            break;
        }
    }
    for _ in 0..5 {
        let statuses = join_all((0..12).map(|_| status_of(&service, "/users?limit=1"))).await;
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    }
    assert_eq!(service.database.counts().await, [72; 3]);
}

#[tokio::test]
async fn the_pool_limit_is_shared_by_all_threads() {
    let settings = [("HTTP_WORKERS", "32"), ("DATABASE_MAX_CONNECTIONS", "4")];
    let service = Service::start_with(Postgres, &settings).await;
    let readers = (0..40).map(|_| {
        // A separate connection for each, so that every thread serves some.
        let client = reqwest::Client::new();
        let url = service.url("/users?limit=1");
        async move {
            for _ in 0..25 {
                let response = client.get(&url).send().await.expect("a response");
                assert_eq!(response.status(), 200);
            }
        }
    });
    let signups = (0..8).map(|number| {
        let service = &service;
        async move { sign_up_with_retries(service, &format!("n{number}@example.org")).await }
    });
    let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                 AND application_name = 'signup-service'";
    let load = async {
        tokio::join!(join_all(readers), join_all(signups));
    };
    let mut load = std::pin::pin!(load);
    let mut most = 0;
    loop {
        tokio::select! {
            () = &mut load => break,
            rows = service.database.rows(count) => {
                most = most.max(rows[0].parse::<u32>().expect("a number"));
            }
        }
    }
    assert!(
        (1..=8).contains(&most),
        "{most} connections; 4 for each pool"
    );
    let metrics = service.get("/metrics").await.text().await.expect("text");
    for state in ["idle", "in_use"] {
        let line = format!("database_pool_connections{{pool=\"read\",state=\"{state}\"}} ");
        let line = metrics.lines().find_map(|found| found.strip_prefix(&line));
        let count: u32 = line.expect("a figure").parse().expect("a number");
        assert!(count <= 4, "{count} {state}");
    }
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let settings = [("HTTP_WORKERS", "2"), ("DATABASE_MAX_CONNECTIONS", "10")];
    let service = Service::start_with(Postgres, &settings).await;
    join_all((0..40).map(|_| status_of(&service, "/users"))).await;
    let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                 AND application_name = 'signup-service'";
    assert_ne!(service.database.rows(count).await, ["0"]);
    let begun = Instant::now();
    // News of revocations are read every second, by one.
    while service.database.rows(count).await != ["1"] {
        assert!(begun.elapsed() < Duration::from_secs(20), "they stay open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(status_of(&service, "/users").await, 200);
}

/// Changes of the schema during which the service keeps running.
fn changes(backend: Backend) -> &'static [&'static str] {
    match backend {
        Postgres => &[
            "ALTER TABLE users_read ALTER COLUMN display_name TYPE varchar(400)",
            "ALTER TABLE users_read ALTER COLUMN name TYPE varchar(400), \
             ALTER COLUMN email TYPE varchar(400)",
            "ALTER TABLE idempotency_records ALTER COLUMN outcome_version TYPE integer",
            "ALTER TABLE idempotency_records ALTER COLUMN request_id TYPE varchar(400), \
             ALTER COLUMN mismatches TYPE bigint",
            "ALTER TABLE users ALTER COLUMN name TYPE varchar(400), ADD COLUMN more text",
            "ALTER TABLE user_events ALTER COLUMN type TYPE varchar(400)",
            "BEGIN; ALTER TABLE users_read RENAME TO old; \
             CREATE TABLE users_read (LIKE old INCLUDING ALL); \
             INSERT INTO users_read SELECT * FROM old; DROP TABLE old; COMMIT",
            "ALTER TABLE _sqlx_migrations ALTER COLUMN description TYPE varchar(400)",
        ],
        Sqlite => &[
            "ALTER TABLE users_read ADD COLUMN more TEXT",
            "ALTER TABLE users_read RENAME COLUMN more TO still_more",
            "ALTER TABLE users ADD COLUMN more TEXT",
            "ALTER TABLE idempotency_records ADD COLUMN more TEXT",
            "DROP INDEX users_read_created_at_id_idx; \
             CREATE INDEX users_read_created_at_id_idx ON users_read (created_at DESC, id DESC)",
            "VACUUM",
        ],
    }
}

#[rstest]
#[tokio::test]
async fn a_schema_change_fails_no_request(#[values(Sqlite, Postgres)] backend: Backend) {
    let settings = [("HTTP_WORKERS", "2"), ("DATABASE_MAX_CONNECTIONS", "6")];
    let service = Service::start_with(backend, &settings).await;
    let known = signup_body("known@example.org");
    let keyed = |body: &Value, key: &str| {
        let request = service.signup(body).header("Idempotency-Key", key);
        async move { request.send().await.expect("a response") }
    };
    let made: Value = keyed(&known, "known").await.json().await.expect("JSON");
    let id = made["id"].as_str().expect("an id");
    // Concurrently, so that every connection of every pool has prepared every statement.
    let round = |number: usize| {
        let (service, known) = (&service, &known);
        async move {
            let each = (0..8).map(|client| async move {
                let fresh = signup_body(&format!("r{number}c{client}@example.org"));
                let bare = format!("b{number}c{client}@example.org");
                let read = format!("/users/{id}");
                let found: [u16; 6] = tokio::join!(
                    status_of(service, "/users?limit=2"),
                    status_of(service, &read),
                    status_of(service, "/users?email=known@example.org"),
                    async {
                        keyed(&fresh, &format!("r{number}c{client}"))
                            .await
                            .status()
                            .into()
                    },
                    async { service.sign_up(&bare).await.status().into() },
                    async { keyed(known, "known").await.status().into() },
                )
                .into();
                found
            });
            for found in join_all(each).await {
                assert_eq!(
                    found,
                    [200, 200, 200, 201, 201, 201],
                    "after change {number}"
                );
            }
            assert_eq!(
                status_of(service, "/ready").await,
                200,
                "after change {number}"
            );
            // A key with another body is looked up, and counted.
            let other = signup_body("other@example.org");
            let key = format!("r{number}c0");
            let status = keyed(&other, &key).await.status();
            assert_eq!(status, 422, "after change {number}");
        }
    };
    round(0).await;
    round(1).await;
    for (number, change) in changes(backend).iter().enumerate() {
        service.database.execute(change).await.expect(change);
        round(number + 2).await;
    }
}
