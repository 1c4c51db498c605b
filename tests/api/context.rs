//! Request and correlation ids, on every response and every log line.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use rstest::rstest;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, InProcess, Service, problem, signup_body,
};

use crate::signup::lock_out;

const REQUEST_ID: &str = "x-request-id";
const CORRELATION_ID: &str = "x-correlation-id";

#[rstest]
#[tokio::test]
async fn ids_are_generated_if_the_client_sends_none(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let response = service.get("/health").await;
    let id = response.headers()[REQUEST_ID].to_str().expect("ASCII");
    assert!(id.len() == 36 && &id[14..15] == "7", "a UUIDv7: {id}");
    assert_eq!(response.headers()[CORRELATION_ID], id);
    let other = service.get("/health").await;
    assert_ne!(other.headers()[REQUEST_ID], id);
}

#[rstest]
#[tokio::test]
async fn client_ids_are_on_every_kind_of_response(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let long = "x".repeat(128);
    let signup = signup_body("ada@example.org").to_string();
    let large = " ".repeat(20_000);
    let cases = [
        (Method::POST, "/signup", signup.as_str(), 201),
        (Method::POST, "/signup", signup.as_str(), 409),
        (Method::POST, "/signup", "{", 400),
        (Method::POST, "/signup", "{}", 422),
        (Method::POST, "/signup", large.as_str(), 413),
        (Method::GET, "/signup", "", 405),
        (Method::DELETE, "/users", "", 405),
        (Method::GET, "/users/1", "", 404),
        (Method::GET, "/users?limit=0", "", 400),
        (Method::GET, "/nowhere", "", 404),
        (Method::GET, "/health", "", 200),
        (Method::GET, "/metrics", "", 200),
        (Method::GET, "/docs", "", 200),
    ];
    for (method, path, body, status) in cases {
        let request = service.client.request(method.clone(), service.url(path));
        let request = request
            .header(REQUEST_ID, "req-1!~")
            .header(CORRELATION_ID, &long)
            .header("Content-Type", "application/json")
            .body(body.to_owned());
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), status, "{method} {path}");
        assert_eq!(response.headers()[REQUEST_ID], "req-1!~", "{method} {path}");
        assert_eq!(response.headers()[CORRELATION_ID], long, "{method} {path}");
        if status >= 400 {
            let body: serde_json::Value = response.json().await.expect("JSON");
            assert_eq!(body["request_id"], "req-1!~", "{method} {path}");
        }
    }
}

#[rstest]
#[case::too_long("x".repeat(129))]
#[case::empty(String::new())]
#[case::space("a b".to_owned())]
#[case::tab("a\tb".to_owned())]
#[case::not_ascii("é".to_owned())]
#[tokio::test]
async fn invalid_ids_are_replaced(#[case] id: String) {
    let service = Service::start(Sqlite).await;
    let request = Client::new().get(service.url("/health"));
    let request = request
        .header(REQUEST_ID, id.as_bytes())
        .header(CORRELATION_ID, id.as_bytes());
    let response = request.send().await.expect("a response");
    assert_eq!(response.status(), 200);
    let made = response.headers()[REQUEST_ID].to_str().expect("ASCII");
    assert_eq!(made.len(), 36);
    assert_eq!(response.headers()[CORRELATION_ID], made);
}

#[rstest]
#[tokio::test]
async fn a_duplicate_id_header_is_replaced(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let mut connection = service.connect();
    connection
        .send("GET /health HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\nX-Request-ID: b\r\n\r\n");
    let response = connection.response().expect("a response");
    assert_eq!(response.header(REQUEST_ID).map(str::len), Some(36));
}

#[rstest]
#[tokio::test]
async fn a_wrong_method_gets_the_allowed_ones(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    for (method, path, allow) in [
        (Method::GET, "/signup", "POST"),
        (Method::PUT, "/signup", "POST"),
        (Method::POST, "/users", "GET, HEAD"),
        (
            Method::DELETE,
            "/users/0190a6e2-7d3c-7a4b-8c5d-6e7f80910213",
            "GET, HEAD",
        ),
        (Method::OPTIONS, "/health", "GET, HEAD"),
        (Method::TRACE, "/ready", "GET, HEAD"),
        (Method::PATCH, "/docs", "GET, HEAD"),
    ] {
        let request = service.client.request(method.clone(), service.url(path));
        let response = request.send().await.expect("a response");
        assert_eq!(response.headers()["allow"], allow, "{method} {path}");
        problem(response, 405, "method-not-allowed").await;
    }
}

/// A JSON object without duplicate names.
struct Unique(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Unique;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
                let mut found = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if found.insert(name.clone(), value).is_some() {
                        return Err(A::Error::custom(format!("{name} is a duplicate")));
                    }
                }
                Ok(Unique(found))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

#[tokio::test]
async fn a_log_line_is_one_object_with_the_same_fields_first() {
    let mut service = Service::start(Sqlite).await;
    assert_eq!(service.sign_up("ada@example.org").await.status(), 201);
    service.wait_for_line("request").await;
    let text = service.log_text();
    for line in text.lines() {
        let Unique(fields) = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        for name in [
            "timestamp",
            "level",
            "message",
            "target",
            "service",
            "version",
        ] {
            assert!(fields[name].is_string(), "{name}: {line}");
        }
        let timestamp = fields["timestamp"].as_str().expect("text");
        assert!(
            chrono::DateTime::parse_from_rfc3339(timestamp).is_ok(),
            "{line}"
        );
        assert_eq!(fields["service"], "signup-service");
        assert_eq!(fields["version"], env!("CARGO_PKG_VERSION"));
    }
    let created = service.wait_for_line("account created").await;
    assert!(created["user_id"].is_string());
    let request = service.wait_for_line("request").await;
    for name in ["duration_ms", "bytes", "status"] {
        assert!(request[name].is_number(), "{name}: {request}");
    }
    for name in ["request_id", "correlation_id", "trace_id", "span_id"] {
        assert_eq!(request[name], created[name]);
        assert!(request[name].is_string(), "{name}: {request}");
    }
}

/// The log distinguishes clients and refusals, whatever ids the clients send.
#[rstest]
#[tokio::test]
async fn a_log_line_has_the_client_and_the_reason_of_a_refusal(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let settings = [("TRUSTED_PROXIES", "127.0.0.1")];
    let mut service = Service::start_with(backend, &settings).await;
    let signup = signup_body("ada@example.org").to_string();
    let other = signup_body("bob@example.org").to_string();
    let cases = [
        ("127.0.0.0/24", None, "/signup", &*signup, 201, None),
        (
            "198.51.100.0/24",
            Some("6.6.6.6, 198.51.100.9"),
            "/signup",
            &*signup,
            201,
            None,
        ),
        (
            "198.51.100.0/24",
            Some("64:ff9b::198.51.100.9"),
            "/signup",
            &*other,
            422,
            Some("idempotency-key-reused"),
        ),
        (
            "2001:db8:1::/48",
            Some("2001:db8:1:2::3"),
            "/signup",
            "{}",
            422,
            Some("validation-failed"),
        ),
        (
            "2001:db8:1::/48",
            Some("2001:db8:1:2::3"),
            "/signup",
            "{",
            400,
            Some("malformed-request"),
        ),
        (
            "127.0.0.0/24",
            None,
            "/users",
            "",
            405,
            Some("method-not-allowed"),
        ),
        ("127.0.0.0/24", None, "/nowhere", "", 404, Some("not-found")),
    ];
    for (number, (client, forwarded, path, body, status, problem)) in cases.into_iter().enumerate()
    {
        let id = format!("request-{number}");
        let mut request = service.client.post(service.url(path));
        if let Some(forwarded) = forwarded {
            request = request.header("X-Forwarded-For", forwarded);
        }
        let request = request
            .header(REQUEST_ID, &id)
            .header("Idempotency-Key", "k")
            .header("Content-Type", "application/json")
            .body(body.to_owned());
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), status, "{id}");
        let is_it = |line: &Value| line["message"] == "request" && line["request_id"] == *id;
        service.wait_for(|lines| lines.iter().any(is_it)).await;
        let lines = service.log_lines();
        let line = lines.iter().find(|line| is_it(line)).expect("just seen");
        assert_eq!(line["client"], client, "{line}");
        assert_eq!(line["problem"].as_str(), problem, "{line}");
        // Every line of the request has the client, and a span id, which no client chooses.
        for line in lines.iter().filter(|line| line["request_id"] == *id) {
            assert_eq!(line["client"], client, "{line}");
            assert_eq!(line["span_id"].as_str().map(str::len), Some(16), "{line}");
        }
    }
    for address in ["198.51.100.9", "6.6.6.6", "2001:db8:1:2", "127.0.0.1\""] {
        let text = service.log_text();
        let found = text
            .lines()
            .find(|line| line.contains("request") && line.contains(address));
        assert_eq!(found, None, "a whole address");
    }
}

/// A replayed refusal is logged with its slug.
#[tokio::test]
async fn a_replayed_refusal_has_its_slug_in_the_log() {
    let mut service = Service::start(Sqlite).await;
    assert_eq!(service.sign_up("ada@example.org").await.status(), 201);
    for id in ["first", "again"] {
        let request = service.signup(&signup_body("ada@example.org"));
        let request = request
            .header("Idempotency-Key", "k")
            .header(REQUEST_ID, id);
        assert_eq!(request.send().await.expect("a response").status(), 409);
        let slug = "email-already-registered";
        let is_it = |line: &Value| line["request_id"] == id && line["problem"] == slug;
        service.wait_for(|lines| lines.iter().any(is_it)).await;
    }
}

/// Requests that machines send every few seconds are logged only on failure, or at debug.
#[tokio::test]
async fn probes_are_logged_when_they_fail() {
    let paths = ["/health", "/ready", "/metrics"];
    for (level, logged) in [("info", false), ("debug", true)] {
        let mut service = Service::start_with(Sqlite, &[("RUST_LOG", level)]).await;
        for path in paths {
            assert_eq!(service.get(path).await.status(), 200, "{path}");
        }
        let refused = service.client.post(service.url("/health")).send().await;
        assert_eq!(refused.expect("a response").status(), 405);
        service
            .wait_for(|lines| lines.iter().any(|line| line["status"] == 405))
            .await;
        let lines = service.log_lines();
        for path in paths {
            let is_it = |line: &&Value| line["route"] == path && line["status"] == 200;
            let line = lines.iter().find(is_it);
            assert_eq!(line.is_some(), logged, "{path}");
            assert!(line.is_none_or(|line| line["level"] == "DEBUG"), "{line:?}");
        }
        let refused = lines.iter().find(|line| line["status"] == 405);
        assert_eq!(refused.expect("just seen")["level"], "INFO");
    }
    let settings = [("SHUTDOWN_DELAY_MS", "20000")];
    let mut service = Service::start_with(Sqlite, &settings).await;
    service.signal("TERM");
    service.wait_for_ready(503).await;
    let line = service.wait_for_line("request failed").await;
    assert_eq!(line["route"], "/ready");
    assert_eq!(line["problem"], "not-ready");
}

/// A request whose client resets the connection gets no response, but is logged and counted.
#[tokio::test]
async fn an_abandoned_request_is_logged_and_counted() {
    let mut service = Service::start(Sqlite).await;
    // It can't complete before it is abandoned.
    let lock = lock_out(&service, Sqlite).await;
    let body = signup_body("ada@example.org").to_string();
    let mut connection = service.connect();
    connection.send(format!(
        "GET /health HTTP/1.1\r\nHost: x\r\n\r\n\
         POST /signup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Idempotency-Key: k\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    service
        .wait_for_metric("idempotency_keys_in_flight 1")
        .await;
    // Closing with an unread response resets the connection.
    drop(connection);
    let line = service.wait_for_line("request abandoned").await;
    assert_eq!(line["route"], "/signup");
    assert!(line["request_id"].is_string());
    let counted = "signup_requests_total{status=\"499\"} 1";
    service.wait_for_metric(counted).await;
    drop(lock);
}

/// A log that is not read fills up and loses lines; no request waits for it.
#[tokio::test]
async fn a_stuck_log_drops_lines_and_blocks_no_request() {
    let mut service = Service::start_with(Sqlite, &[("RUST_LOG", "trace")]).await;
    let mut connection = service.connect();
    let mut get = |path: &str| {
        connection.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let response = connection.response().expect("a response");
        assert_eq!(response.status, 200);
        response.body
    };
    service.with_stuck_log(|| {
        let begun = Instant::now();
        let dropped = |metrics: &str| {
            let value = |line: &str| line.strip_prefix("log_lines_dropped_total ").map(str::len);
            // More than one digit.
            metrics
                .lines()
                .find_map(value)
                .is_some_and(|digits| digits > 1)
        };
        while !dropped(&get("/metrics")) {
            assert!(begun.elapsed() < Duration::from_mins(1), "never dropped");
            for _ in 0..200 {
                let sent = Instant::now();
                get("/health");
                assert!(sent.elapsed() < Duration::from_secs(5));
            }
        }
    });
    // Once the log is read again, its lines are whole.
    service.wait_for(|lines| lines.len() > 1_000).await;
}

#[rstest]
#[tokio::test]
async fn every_log_line_of_a_request_has_its_ids(#[values(Sqlite, Postgres)] backend: Backend) {
    let mut service = Service::start_with(backend, &[("RUST_LOG", "debug")]).await;
    for (path, id) in [("/users/1", "a"), ("/nowhere", "b"), ("/users", "c")] {
        let request = service.client.get(service.url(path)).header(REQUEST_ID, id);
        request
            .header(CORRELATION_ID, "flow")
            .send()
            .await
            .expect("a response");
    }
    let signup = service
        .signup(&signup_body("ada@example.org"))
        .header(REQUEST_ID, "d");
    signup
        .header(CORRELATION_ID, "flow")
        .send()
        .await
        .expect("a response");
    service.wait_for_line("account created").await;
    service
        .wait_for(|lines| lines.iter().filter(|l| l["message"] == "request").count() == 4)
        .await;
    let lines = service.log_lines();
    let of = |id: &str| lines.iter().filter(|line| line["request_id"] == id).count();
    assert!(of("a") >= 1 && of("b") >= 1 && of("c") >= 1 && of("d") >= 2);
    for line in lines.iter().filter(|line| line["request_id"].is_string()) {
        assert_eq!(line["correlation_id"], "flow", "{line}");
    }
    let request = lines
        .iter()
        .find(|line| line["request_id"] == "a")
        .expect("logged");
    assert_eq!(request["route"], "/users/{id}");
    assert_eq!(request["method"], "GET");
    assert_eq!(request["status"], 404);
    let request = lines
        .iter()
        .find(|line| line["request_id"] == "b")
        .expect("logged");
    assert_eq!(
        request["route"], "unmatched",
        "a path that matched nothing is not repeated"
    );
    // The statements' own lines, at debug, come from the tasks that serve the request.
    let statements = lines.iter().filter(|line| line["target"] == "sqlx::query");
    // SQLite's thread logs none: it does not know the request.
    assert_eq!(statements.clone().count() > 0, backend == Postgres);
    for line in statements.filter(|line| line.to_string().contains("INSERT INTO users ")) {
        assert_eq!(line["request_id"], "d", "{line}");
    }
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_service_keeps_running() {
    let service = InProcess::start(&[("HTTP_WORKERS", "1")]).await;
    for _ in 0..3 {
        let body = problem(service.get("/panic").await, 500, "internal-error").await;
        assert!(!body.to_string().contains("secret"), "{body}");
        assert_eq!(service.get("/health").await.status(), 200);
    }
}

#[tokio::test]
async fn a_handler_that_never_responds_is_cut_at_the_deadline() {
    let service = InProcess::start(&[("REQUEST_TIMEOUT_MS", "200")]).await;
    let begun = std::time::Instant::now();
    let response = service.get("/stuck").await;
    assert!(response.headers().contains_key("retry-after"));
    problem(response, 503, "unavailable").await;
    let took = begun.elapsed().as_millis();
    assert!((200..2_000).contains(&took), "{took} ms");
    assert_eq!(service.get("/health").await.status(), 200);
}
