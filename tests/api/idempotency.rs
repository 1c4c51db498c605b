//! `Idempotency-Key`: every row of the contract's table, on each setup of the service.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use reqwest::Response;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{Backend, Database, InProcess, Service, problem, signup_body};
use crate::signup::lock_out;
use throwaway_servers::redis;

/// A setup of the service.
#[derive(Debug, Clone, Copy)]
enum Setup {
    Sqlite,
    Postgres,
    PostgresRedis,
    /// Two instances on one PostgreSQL; requests alternate between them.
    TwoInstances,
    TwoInstancesRedis,
}
use Setup::{Postgres, PostgresRedis, Sqlite, TwoInstances, TwoInstancesRedis};

impl Setup {
    fn backend(self) -> Backend {
        match self {
            Sqlite => Backend::Sqlite,
            _ => Backend::Postgres,
        }
    }

    fn count(self) -> usize {
        match self {
            Sqlite | Postgres | PostgresRedis => 1,
            TwoInstances | TwoInstancesRedis => 2,
        }
    }

    fn has_redis(self) -> bool {
        matches!(self, PostgresRedis | TwoInstancesRedis)
    }
}

struct Instances {
    services: Vec<Service>,
    redis: Option<redis::Database>,
    next: std::sync::atomic::AtomicUsize,
}

impl Instances {
    async fn start(setup: Setup, settings: &[(&str, &str)]) -> Self {
        let redis = setup.has_redis().then(|| redis::server().database());
        let url = redis.as_ref().map(redis::Database::url);
        let mut settings = settings.to_vec();
        settings.extend(url.iter().map(|url| ("REDIS_URL", url.as_str())));
        Self {
            redis,
            ..Self::start_any(setup.backend(), setup.count(), &settings).await
        }
    }

    async fn start_any(backend: Backend, count: usize, settings: &[(&str, &str)]) -> Self {
        let database = Arc::new(Database::new(backend));
        let mut services = Vec::new();
        for _ in 0..count {
            services.push(Service::start_on(Arc::clone(&database), settings).await);
        }
        Self {
            services,
            redis: None,
            next: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    fn next(&self) -> &Service {
        let next = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        &self.services[next % self.services.len()]
    }

    fn database(&self) -> &Database {
        &self.services[0].database
    }

    async fn send(&self, keys: &[&str], body: &Value) -> Response {
        let mut request = self.next().signup(body);
        for key in keys {
            request = request.header("Idempotency-Key", *key);
        }
        request.send().await.expect("a response")
    }

    async fn users(&self) -> i64 {
        let counts = self.database().counts().await;
        assert_eq!(counts, [counts[0]; 3]);
        counts[0]
    }
}

/// The parts of a response that are the same for each request with a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Snapshot {
    pub status: u16,
    location: Option<String>,
    content_type: Option<String>,
    body: Vec<u8>,
}

pub async fn snapshot(response: Response) -> Snapshot {
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        Some(value.to_str().expect("ASCII").to_owned())
    };
    Snapshot {
        status: response.status().as_u16(),
        location: header("location"),
        content_type: header("content-type"),
        body: response.bytes().await.expect("a body").to_vec(),
    }
}

pub fn is_replay(response: &Response) -> bool {
    response
        .headers()
        .get("idempotent-replayed")
        .is_some_and(|value| value == "true")
}

#[rstest]
#[tokio::test]
async fn c1_c2_a_retry_gets_the_first_response(
    #[values(Sqlite, Postgres, PostgresRedis, TwoInstances, TwoInstancesRedis)] setup: Setup,
) {
    let service = Instances::start(setup, &[]).await;
    let body = signup_body("Ada@Example.org");
    let first = service.send(&["k"], &body).await;
    assert_eq!(first.status(), 201);
    assert!(!is_replay(&first));
    let first = snapshot(first).await;
    for _ in 0..3 {
        let again = service.send(&["k"], &body).await;
        assert!(is_replay(&again));
        assert_eq!(snapshot(again).await, first);
    }
    assert_eq!(service.users().await, 1);
}

#[rstest]
#[tokio::test]
async fn c3_another_body_is_refused_and_exhausts_the_key(
    #[values(Sqlite, Postgres, PostgresRedis, TwoInstances, TwoInstancesRedis)] setup: Setup,
) {
    let service = Instances::start(setup, &[]).await;
    let body = signup_body("ada@example.org");
    assert_eq!(service.send(&["k"], &body).await.status(), 201);
    for number in 1..=10 {
        let mut other = body.clone();
        other["password"] = json!(format!("another horse battery staple {number}"));
        problem(
            service.send(&["k"], &other).await,
            422,
            "idempotency-key-reused",
        )
        .await;
        assert!(is_replay(&service.send(&["k"], &body).await), "{number}");
    }
    // A holder of the key can't continue to guess passwords, not even with the right one.
    let mut other = body.clone();
    other["name"] = json!("Bob");
    for body in [&other, &body] {
        problem(
            service.send(&["k"], body).await,
            429,
            "idempotency-key-exhausted",
        )
        .await;
    }
    assert_eq!(service.users().await, 1);
}

#[rstest]
#[tokio::test]
async fn c4_concurrent_requests_execute_once_and_get_one_response(
    #[values(Sqlite, Postgres, PostgresRedis, TwoInstances, TwoInstancesRedis)] setup: Setup,
) {
    let service = Instances::start(setup, &[("BCRYPT_COST", "8")]).await;
    let body = signup_body("ada@example.org");
    let responses = join_all((0..20).map(|_| service.send(&["k"], &body))).await;
    assert_eq!(
        responses
            .iter()
            .filter(|response| !is_replay(response))
            .count(),
        1
    );
    let responses: Vec<Snapshot> = join_all(responses.into_iter().map(snapshot)).await;
    assert_eq!(responses[0].status, 201);
    assert!(responses.iter().all(|response| *response == responses[0]));
    assert_eq!(service.users().await, 1);
}

#[rstest]
#[tokio::test]
async fn c4_c5_a_request_in_progress_is_reported(
    #[values(Sqlite, Postgres, PostgresRedis, TwoInstancesRedis)] setup: Setup,
) {
    let service = Instances::start(setup, &[("REQUEST_TIMEOUT_MS", "20000")]).await;
    let body = signup_body("ada@example.org");
    let mut other = body.clone();
    other["name"] = json!("Bob");
    let lock = lock_out(&service.services[0], setup.backend()).await;
    let first = service.services[0]
        .signup(&body)
        .header("Idempotency-Key", "k")
        .send();
    let first = tokio::spawn(first);
    service.services[0]
        .wait_for_metric("idempotency_keys_in_flight 1")
        .await;
    for body in [&body, &other] {
        let begun = std::time::Instant::now();
        let response = service.send(&["k"], body).await;
        assert_eq!(response.headers()["retry-after"], "1");
        problem(response, 409, "request-in-progress").await;
        assert!(
            (1.9..8.0).contains(&begun.elapsed().as_secs_f64()),
            "{:?}",
            begun.elapsed()
        );
    }
    drop(lock);
    let first = first.await.expect("no panic").expect("a response");
    assert_eq!(first.status(), 201);
    let first = snapshot(first).await;
    let again = service.send(&["k"], &body).await;
    assert!(is_replay(&again));
    assert_eq!(snapshot(again).await, first);
    problem(
        service.send(&["k"], &other).await,
        422,
        "idempotency-key-reused",
    )
    .await;
    assert_eq!(service.users().await, 1);
}

#[rstest]
#[tokio::test]
async fn c5_different_concurrent_bodies_create_at_most_one_user(
    #[values(Sqlite, Postgres, PostgresRedis, TwoInstances, TwoInstancesRedis)] setup: Setup,
) {
    let service = Instances::start(setup, &[("BCRYPT_COST", "8")]).await;
    let bodies: Vec<Value> = (0..8)
        .map(|n| signup_body(&format!("ada{n}@example.org")))
        .collect();
    let responses = join_all(bodies.iter().map(|body| service.send(&["k"], body))).await;
    let mut statuses: BTreeMap<u16, u32> = BTreeMap::new();
    for response in &responses {
        *statuses.entry(response.status().as_u16()).or_default() += 1;
    }
    assert_eq!(statuses, BTreeMap::from([(201, 1), (422, 7)]));
    assert_eq!(service.users().await, 1);
}

#[rstest]
#[tokio::test]
async fn c6_no_key_executes_unless_one_is_required(
    #[values(Sqlite, Postgres, PostgresRedis, TwoInstances, TwoInstancesRedis)] setup: Setup,
) {
    let service = Instances::start(setup, &[]).await;
    assert_eq!(
        service
            .send(&[], &signup_body("ada@example.org"))
            .await
            .status(),
        201
    );
    let strict = Instances::start(setup, &[("IDEMPOTENCY_REQUIRED", "true")]).await;
    let body = signup_body("ada@example.org");
    // Whatever the body: it is not read.
    for body in [&body, &json!({ "name": 1 })] {
        problem(strict.send(&[], body).await, 400, "idempotency-key-missing").await;
    }
    assert_eq!(strict.users().await, 0);
    assert_eq!(strict.send(&["k"], &body).await.status(), 201);
}

#[rstest]
#[tokio::test]
async fn c7_c10_c11_c12_invalid_keys(
    #[values(Sqlite, Postgres, PostgresRedis, TwoInstances, TwoInstancesRedis)] setup: Setup,
) {
    let service = Instances::start(setup, &[]).await;
    let body = signup_body("ada@example.org");
    let long = "k".repeat(256);
    let quoted = format!("\"{long}\"");
    for keys in [
        &[""][..],
        &["\"\""],
        &["a", "b"],
        &["a", "a"],
        &[&long],
        &[&quoted],
        &["käse"],
        &["\"open"],
        &["open\""],
        &["\"k\";a=\"x"],
        &["\"k\";"],
        &["\"k\" ;a"],
        &["\"k\";a=1."],
        &["\"k\"; A=1"],
        &["\"k\", \"l\""],
    ] {
        let response = service.send(keys, &body).await;
        assert_eq!(response.status(), 400, "{keys:?}");
        problem(response, 400, "idempotency-key-invalid").await;
    }
    assert_eq!(service.users().await, 0);
    assert_eq!(service.send(&[&"k".repeat(255)], &body).await.status(), 201);
}

#[rstest]
#[tokio::test]
async fn c8_c9_c13_c14_equal_forms_of_a_key(
    #[values(Sqlite, Postgres, PostgresRedis, TwoInstances, TwoInstancesRedis)] setup: Setup,
) {
    let service = Instances::start(setup, &[]).await;
    let body = signup_body("ada@example.org");
    let first = snapshot(service.send(&["\"abc-123\""], &body).await).await;
    assert_eq!(first.status, 201);
    for same in [
        "abc-123",
        "\"abc-123\"",
        "\"abc-123\";a=1",
        "\"abc-123\"; a;b=\"c\"",
        " abc-123 ",
    ] {
        let again = service.send(&[same], &body).await;
        assert!(is_replay(&again), "{same}");
        assert_eq!(snapshot(again).await, first, "{same}");
    }
    let other = service
        .send(&["ABC-123"], &signup_body("bob@example.org"))
        .await;
    assert_eq!(other.status(), 201, "case counts");
    assert_eq!(service.users().await, 2);
}

#[rstest]
#[tokio::test]
async fn c15_a_key_on_a_read_is_ignored(
    #[values(Sqlite, Postgres, PostgresRedis, TwoInstances, TwoInstancesRedis)] setup: Setup,
) {
    let service = Instances::start(setup, &[]).await;
    for key in ["k", "", "\"open"] {
        let service = service.next();
        let read = service
            .client
            .get(service.url("/users"))
            .header("Idempotency-Key", key);
        let read = read.send().await.expect("a response");
        assert_eq!(read.status(), 200, "{key}");
        assert!(!is_replay(&read));
    }
}

#[rstest]
#[tokio::test]
async fn c16_a_key_on_another_path_is_another_key(
    #[values(Sqlite, Postgres, PostgresRedis, TwoInstances, TwoInstancesRedis)] setup: Setup,
) {
    let redis = setup.has_redis().then(|| redis::server().database());
    let redis_url = redis.as_ref().map(redis::Database::url);
    let mut settings = vec![("BCRYPT_COST", "4")];
    settings.extend(redis_url.iter().map(|url| ("REDIS_URL", url.as_str())));
    let database = Arc::new(Database::new(setup.backend()));
    let mut services = Vec::new();
    for _ in 0..setup.count() {
        services.push(InProcess::start_on(Arc::clone(&database), &settings).await);
    }
    let (first, last) = (&services[0], &services[setup.count() - 1]);

    let body = signup_body("ada@example.org");
    let signup = first.post("/signup", "k", &body).await;
    assert_eq!(signup.status(), 201);
    for service in &services {
        let other = service.post("/keyed", "k", &body).await;
        assert_eq!(other.status(), 200);
        assert_eq!(other.text().await.expect("text"), "executed");
    }
    let again = last.post("/signup", "k", &body).await;
    assert!(is_replay(&again));
}

/// The values in the path belong to the request.
#[tokio::test]
async fn c3_another_value_in_the_path_is_another_request() {
    let service = InProcess::start(&[]).await;
    let body = serde_json::json!({});
    assert_eq!(service.post("/recorded/1", "k", &body).await.status(), 200);
    let other = service.post("/recorded/2", "k", &body).await;
    problem(other, 422, "idempotency-key-reused").await;
    assert!(is_replay(&service.post("/recorded/1", "k", &body).await));
}

#[rstest]
#[tokio::test]
async fn c17_nothing_is_stored_before_execution(
    #[values(Sqlite, Postgres, PostgresRedis, TwoInstances, TwoInstancesRedis)] setup: Setup,
) {
    let service = Instances::start(setup, &[]).await;
    let invalid = json!({ "name": "", "email": "ada@example.org", "password": "short" });
    problem(
        service.send(&["k"], &invalid).await,
        422,
        "validation-failed",
    )
    .await;
    let raw = |content_type: &str, body: String| {
        let service = service.next();
        let request = service.client.post(service.url("/signup"));
        let request = request.header("Content-Type", content_type);
        request.header("Idempotency-Key", "k").body(body).send()
    };
    for (content_type, body, status) in [
        ("application/json", "{".to_owned(), 400),
        ("text/plain", "{}".to_owned(), 415),
        ("application/json", " ".repeat(20_000), 413),
    ] {
        let response = raw(content_type, body).await.expect("a response");
        assert_eq!(response.status(), status);
    }
    let corrected = service.send(&["k"], &signup_body("ada@example.org")).await;
    assert_eq!(corrected.status(), 201);
    assert!(!is_replay(&corrected));
}

#[rstest]
#[tokio::test]
async fn c18_a_taken_address_is_replayed(
    #[values(Sqlite, Postgres, PostgresRedis, TwoInstances, TwoInstancesRedis)] setup: Setup,
) {
    let service = Instances::start(setup, &[]).await;
    let body = signup_body("ada@example.org");
    assert_eq!(service.send(&["a"], &body).await.status(), 201);
    let first = service.send(&["b"], &body).await;
    assert!(!is_replay(&first));
    let first = snapshot(first).await;
    assert_eq!(first.status, 409);
    // Also if the address is free by now.
    for table in ["users", "users_read"] {
        let delete = format!("DELETE FROM {table}");
        service.database().execute(&delete).await.expect("deleted");
    }
    let again = service.send(&["b"], &body).await;
    assert!(is_replay(&again));
    assert_eq!(snapshot(again).await, first);
}

#[rstest]
#[tokio::test]
async fn c19_overload_and_unavailability_are_not_stored(
    #[values(Sqlite, Postgres, PostgresRedis, TwoInstances, TwoInstancesRedis)] setup: Setup,
) {
    let service = Instances::start(setup, &[("REQUEST_TIMEOUT_MS", "1500")]).await;
    let body = signup_body("ada@example.org");
    let lock = lock_out(&service.services[0], setup.backend()).await;
    problem(service.send(&["k"], &body).await, 503, "unavailable").await;
    drop(lock);
    let again = service.send(&["k"], &body).await;
    assert_eq!(again.status(), 201);
    assert_eq!(service.users().await, 1);
}

#[rstest]
#[tokio::test]
async fn c20_a_lost_response_is_replayed(
    #[values(Sqlite, Postgres, PostgresRedis, TwoInstances, TwoInstancesRedis)] setup: Setup,
) {
    let service = Instances::start(setup, &[("BCRYPT_COST", "6")]).await;
    let body = signup_body("ada@example.org");
    let text = body.to_string();
    let mut connection = service.services[0].connect();
    connection.send(format!(
        "POST /signup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Idempotency-Key: k\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    ));
    // Cut after the commit, before the response is read.
    while service.database().counts().await == [0; 3] {
        tokio::task::yield_now().await;
    }
    drop(connection);
    let again = service.send(&["k"], &body).await;
    assert_eq!(again.status(), 201);
    assert!(is_replay(&again));
    assert_eq!(service.users().await, 1);
}

#[tokio::test]
async fn c20_also_after_a_kill() {
    let database = Arc::new(Database::new(Backend::Sqlite));
    let mut service = Service::start_on(Arc::clone(&database), &[]).await;
    let body = signup_body("ada@example.org");
    let first = service.signup(&body).header("Idempotency-Key", "k").send();
    let first = snapshot(first.await.expect("a response")).await;
    service.signal("KILL");
    service.wait().await;
    let service = Service::start_on(database, &[]).await;
    let again = service.signup(&body).header("Idempotency-Key", "k").send();
    assert_eq!(snapshot(again.await.expect("a response")).await, first);
}

#[rstest]
#[tokio::test]
async fn c21_an_expired_key_executes_again_and_is_removed(
    #[values(Sqlite, Postgres, PostgresRedis, TwoInstances, TwoInstancesRedis)] setup: Setup,
) {
    let service = Instances::start(setup, &[("IDEMPOTENCY_TTL_SECONDS", "1")]).await;
    let body = signup_body("ada@example.org");
    let first = snapshot(service.send(&["k"], &body).await).await;
    assert_eq!(first.status, 201);
    // The address has an account by now, so a new execution is visible.
    let begun = std::time::Instant::now();
    while snapshot(service.send(&["k"], &body).await).await == first {
        assert!(begun.elapsed().as_secs() < 30, "it never expired");
    }
    let count = "SELECT count(*) FROM idempotency_records";
    while service.database().rows(count).await != ["0"] {
        assert!(begun.elapsed().as_secs() < 30, "it was never removed");
        tokio::task::yield_now().await;
    }
    assert_eq!(service.users().await, 1);
}

#[rstest]
#[tokio::test]
async fn c23_values_count_and_not_their_order(
    #[values(Sqlite, Postgres, PostgresRedis, TwoInstances, TwoInstancesRedis)] setup: Setup,
) {
    let service = Instances::start(setup, &[]).await;
    let first = snapshot(service.send(&["k"], &signup_body("ada@example.org")).await).await;
    assert_eq!(first.status, 201);
    let same = "{\r\n  \"password\": \"correct horse battery \\u0073taple\",\
                \"email\":\"ada@example.org\", \"name\" : \"Ada Lovelace\" }";
    let service_b = service.next();
    let request = service_b.client.post(service_b.url("/signup"));
    let request = request.header("Content-Type", "application/json");
    let again = request
        .header("Idempotency-Key", "k")
        .body(same)
        .send()
        .await;
    let again = again.expect("a response");
    assert!(is_replay(&again));
    assert_eq!(snapshot(again).await, first);
}

#[rstest]
#[tokio::test]
async fn keys_survive_a_rotation_of_the_secret(#[values(Sqlite, Postgres)] setup: Setup) {
    const OLD: &str = "the old secret of thirty-two bytes";
    const NEW: &str = "the new secret of thirty-two bytes";
    let database = Arc::new(Database::new(setup.backend()));
    let body = signup_body("ada@example.org");
    let mut first = None;
    for settings in [
        &[("IDEMPOTENCY_SECRET", OLD)][..],
        &[
            ("IDEMPOTENCY_SECRET", OLD),
            ("IDEMPOTENCY_SECRET_PREVIOUS", NEW),
        ],
        &[
            ("IDEMPOTENCY_SECRET", NEW),
            ("IDEMPOTENCY_SECRET_PREVIOUS", OLD),
        ],
    ] {
        let service = Service::start_on(Arc::clone(&database), settings).await;
        let response = service.signup(&body).header("Idempotency-Key", "k").send();
        let response = snapshot(response.await.expect("a response")).await;
        assert_eq!(response, *first.get_or_insert(response.clone()));
    }
}

/// Guarantee P1.
#[rstest]
#[tokio::test]
async fn no_key_or_password_is_kept_or_logged(
    #[values(Sqlite, Postgres, PostgresRedis)] setup: Setup,
) {
    let mut service = Instances::start(setup, &[("RUST_LOG", "trace")]).await;
    let body = signup_body("ada@example.org");
    for _ in 0..2 {
        service.send(&["a-very-secret-key"], &body).await;
    }
    let hash = |column: &str| match setup {
        Sqlite => format!("hex({column})"),
        _ => format!("encode({column}, 'hex')"),
    };
    let query = format!(
        "SELECT {} || {} || outcome || request_id FROM idempotency_records",
        hash("key_hash"),
        hash("fingerprint")
    );
    let rows = service.database().rows(&query).await;
    assert_eq!(rows.len(), 1);
    assert!(
        !rows[0].contains("horse") && !rows[0].contains("very-secret"),
        "{rows:?}"
    );
    if let Some(redis) = &service.redis {
        let keys = redis.command(&["KEYS", "*"]);
        let held: Vec<String> = keys
            .lines()
            .map(|key| redis.command(&["GET", key]))
            .collect();
        assert!(held.iter().any(|value| value.starts_with('O')), "{held:?}");
        let all = format!("{keys} {held:?}");
        for secret in ["horse", "very-secret", "ada", "Ada"] {
            assert!(!all.contains(secret), "{secret} in {all}");
        }
    }
    let service = &mut service.services[0];
    service.wait_for_line("response replayed").await;
    let log = service.log_text();
    assert!(!log.contains("horse") && !log.contains("very-secret"));
    let metrics = service.get("/metrics").await.text().await.expect("text");
    for line in [
        r#"idempotency_requests_total{result="first"} 1"#,
        r#"idempotency_requests_total{result="replayed"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} in:\n{metrics}");
    }
}

#[tokio::test]
async fn postgresql_requires_a_secret() {
    let database = Database::new(Backend::Postgres);
    let url = database.url();
    let settings = [
        ("DATABASE_URL", url.as_str()),
        ("DATABASE_MIGRATE", "true"),
        ("PORT", "0"),
    ];
    let output = crate::harness::run(&[], &settings);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        output.stderr.contains("IDEMPOTENCY_SECRET must be set"),
        "{output:?}"
    );
}

#[rstest]
#[tokio::test]
async fn an_exhausted_key_is_refused_without_a_write(#[values(Sqlite, Postgres)] setup: Setup) {
    let service = Instances::start(setup, &[("REQUEST_TIMEOUT_MS", "3000")]).await;
    let first = service.send(&["k"], &signup_body("ada@example.org")).await;
    assert_eq!(first.status(), 201);
    let other = signup_body("eve@example.org");
    let mut refusals = 0;
    while service.send(&["k"], &other).await.status() == 422 {
        refusals += 1;
    }
    assert_eq!(refusals, 10);
    // Any write would now wait in vain.
    let _lock = if let Sqlite = setup {
        lock_out(&service.services[0], Backend::Sqlite).await
    } else {
        use sqlx::{Connection, Executor};
        let connection = sqlx::PgConnection::connect(&service.database().url()).await;
        let mut connection = connection.expect("connects");
        let lock = "BEGIN; LOCK TABLE idempotency_records IN SHARE MODE";
        connection.execute(lock).await.expect("locked");
        Box::new(connection)
    };
    for _ in 0..20 {
        let refused = service.send(&["k"], &other).await;
        problem(refused, 429, "idempotency-key-exhausted").await;
    }
}

#[rstest]
#[tokio::test]
async fn a_key_expires_counting_from_its_response(#[values(Sqlite, Postgres)] setup: Setup) {
    // One hash takes longer than the lifetime of a key.
    let settings = [
        ("IDEMPOTENCY_TTL_SECONDS", "1"),
        ("BCRYPT_COST", "15"),
        ("REQUEST_TIMEOUT_MS", "120000"),
    ];
    let service = Instances::start(setup, &settings).await;
    let body = signup_body("ada@example.org");
    let begun = std::time::Instant::now();
    let first = snapshot(service.send(&["k"], &body).await).await;
    assert_eq!(first.status, 201);
    assert!(begun.elapsed().as_secs() >= 1, "the hash was too fast");
    assert_eq!(snapshot(service.send(&["k"], &body).await).await, first);
}
