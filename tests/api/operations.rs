//! `/health`, `/ready` and `/metrics`.

use std::sync::Arc;
use std::time::Instant;

use rstest::rstest;
use serde_json::Value;

use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Database, Service, problem, run,
};
use crate::signup::lock_out;

const CHECKS: [&str; 6] = ["running", "database", "migrations", "cpu", "memory", "disk"];

#[rstest]
#[tokio::test]
async fn health_reports_the_process(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let health: Value = service.get("/health").await.json().await.expect("JSON");
    assert_eq!(health["status"], "ok");
    assert_eq!(health["service"], "signup-service");
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert!(health["uptime_seconds"].is_u64());
}

#[rstest]
#[tokio::test]
async fn ready_reports_every_check(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let response = service.get("/ready").await;
    assert_eq!(response.status(), 200);
    let ready: Value = response.json().await.expect("JSON");
    assert_eq!(ready["status"], "ready");
    for check in CHECKS {
        let check = &ready["checks"][check];
        assert!(check["duration_ms"].is_number(), "{ready}");
        assert_eq!(check["status"], "ok", "{ready}");
    }
    for figure in ["cpu", "memory", "disk"] {
        let used = ready["checks"][figure]["used_percent"]
            .as_f64()
            .expect("a figure");
        assert!((0.0..=100.0).contains(&used), "{ready}");
    }
    assert_eq!(ready["checks"]["migrations"]["pending"], 0);
}

/// Asserts that the service is not ready for only this reason, and is still healthy; returns the report.
async fn not_ready(service: &Service, failed: &str) -> Value {
    let begun = Instant::now();
    let body = problem(service.get("/ready").await, 503, "not-ready").await;
    assert!(begun.elapsed().as_secs() < 5, "the check has a time limit");
    for check in CHECKS {
        let is_ok = body["checks"][check]["status"] == "ok";
        assert_eq!(is_ok, check != failed, "{check}: {body}");
    }
    let begun = Instant::now();
    assert_eq!(service.get("/health").await.status(), 200);
    assert!(
        begun.elapsed().as_millis() < 1_500,
        "health depends on no other service"
    );
    body
}

#[rstest]
#[tokio::test]
async fn a_reverted_migration_is_detected(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let url = service.database.url();
    let down = run(&["migrate", "down", "--yes"], &[("DATABASE_URL", &url)]);
    assert!(down.status.success(), "{down:?}");
    let body = not_ready(&service, "migrations").await;
    assert_eq!(body["checks"]["migrations"]["pending"], 1);
    let up = run(&["migrate"], &[("DATABASE_URL", &url)]);
    assert!(up.status.success(), "{up:?}");
    service.wait_for_ready(200).await;
}

#[tokio::test]
async fn a_read_only_postgresql_is_not_ready() {
    // A separate server, as the setting is server-wide.
    let server = throwaway_servers::postgres::Server::start().expect("PostgreSQL starts");
    let server: &'static throwaway_servers::postgres::Server = Box::leak(Box::new(server));
    let database = Arc::new(Database::Postgres(server.database()));
    let service = Service::start_on(database, &[]).await;
    assert_eq!(service.get("/ready").await.status(), 200);

    let read_only = |value: &str| {
        server.sql(
            "postgres",
            &format!("ALTER SYSTEM SET default_transaction_read_only = {value}"),
        );
        server.sql("postgres", "SELECT pg_reload_conf()");
    };
    read_only("on");
    service.wait_for_ready(503).await;
    let body = not_ready(&service, "database").await;
    assert_eq!(body["checks"]["database"]["detail"], "read-only");
    let signup = service.sign_up("ada@example.org").await;
    problem(signup, 503, "unavailable").await;
    assert_eq!(
        service.get("/users").await.status(),
        200,
        "reads still work"
    );

    read_only("off");
    service.wait_for_ready(200).await;
    let signup = service.sign_up("ada@example.org").await;
    assert_eq!(signup.status(), 201);
}

#[tokio::test]
async fn a_replica_is_read_from_and_checked() {
    let replica = Database::new(Postgres);
    let url = replica.url();
    let empty = Arc::new(Database::new(Postgres));
    let empty_url = empty.url();
    let settings = [
        ("DATABASE_URL", empty_url.as_str()),
        ("DATABASE_READ_URL", &url),
        ("DATABASE_MIGRATE", "true"),
        ("IDEMPOTENCY_SECRET", crate::harness::SECRET),
        ("PORT", "0"),
    ];
    let refused = run(&[], &settings);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("no response to queries"),
        "{refused:?}"
    );

    let migrated = run(&["migrate"], &[("DATABASE_URL", &url)]);
    assert!(migrated.status.success(), "{migrated:?}");
    let service = Service::start_on(empty, &[("DATABASE_READ_URL", &url)]).await;
    assert_eq!(service.get("/ready").await.status(), 200);
    let signup = service.sign_up("ada@example.org").await;
    let location = signup.headers()["location"]
        .to_str()
        .expect("ASCII")
        .to_owned();
    // Nothing replicates here, which shows which database is queried.
    problem(service.get(&location).await, 404, "user-not-found").await;

    replica
        .execute("DROP TABLE users_read")
        .await
        .expect("dropped");
    service.wait_for_ready(503).await;
    let body = not_ready(&service, "database").await;
    assert_eq!(
        body["checks"]["database"]["detail"],
        "no response to queries"
    );
}

#[tokio::test]
async fn a_sqlite_locked_by_another_process_is_not_ready() {
    let service = Service::start_with(Sqlite, &[("REQUEST_TIMEOUT_MS", "3000")]).await;
    let lock = lock_out(&service, Sqlite).await;
    not_ready(&service, "database").await;
    drop(lock);
    service.wait_for_ready(200).await;
}

/// Guarantee O6.
#[tokio::test]
async fn an_unavailable_postgresql_is_not_ready_and_recovers_by_itself() {
    let server = throwaway_servers::postgres::Server::start().expect("PostgreSQL starts");
    let server: &'static throwaway_servers::postgres::Server = Box::leak(Box::new(server));
    let database = Arc::new(Database::Postgres(server.database()));
    // Half of it, which a connection is waited for, is more than the 2 s of a check.
    let settings = [("REQUEST_TIMEOUT_MS", "5000")];
    let service = Service::start_on(database, &settings).await;
    // Stopped, it neither responds nor refuses.
    server.signal("STOP");
    let begun = Instant::now();
    let response = service.get("/ready").await;
    let body = problem(response, 503, "not-ready").await;
    assert_eq!(body["checks"]["database"]["status"], "timed_out", "{body}");
    assert!(begun.elapsed().as_secs() < 4, "{:?}", begun.elapsed());
    let read = service.get("/users").await;
    assert!(read.headers().contains_key("retry-after"));
    problem(read, 503, "unavailable").await;
    let signup = service.sign_up("ada@example.org").await;
    problem(signup, 503, "unavailable").await;
    assert_eq!(service.get("/health").await.status(), 200);
    server.signal("CONT");
    service.wait_for_ready(200).await;
    let signup = service.sign_up("bob@example.org").await;
    assert_eq!(signup.status(), 201);
}

#[rstest]
#[tokio::test]
async fn metrics_name_routes_and_never_paths(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    service.get("/users/ada@example.org").await;
    service.get("/secret/path").await;
    let request = service
        .client
        .request("BREW".parse().expect("a method"), service.url("/users"));
    assert_eq!(request.send().await.expect("a response").status(), 405);
    let response = service.get("/metrics").await;
    assert!(
        response.headers()["content-type"]
            .to_str()
            .expect("ASCII")
            .starts_with("text/plain")
    );
    let text = response.text().await.expect("text");
    for line in [
        r#"http_request_duration_seconds_count{method="GET",route="/users/{id}",status="404"} 1"#,
        r#"http_request_duration_seconds_count{method="GET",route="unmatched",status="404"} 1"#,
        r#"http_request_duration_seconds_count{method="other",route="/users",status="405"} 1"#,
        "http_requests_in_flight 1",
        "process_resident_memory_bytes",
        "build_info",
    ] {
        assert!(text.contains(line), "{line} in:\n{text}");
    }
    assert!(
        !text.contains("secret") && !text.contains("example.org"),
        "{text}"
    );
}
