//! Connections: keep-alive, upgrades, limits and their cost.

use std::time::{Duration, Instant};

use rstest::rstest;

use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Connection, Service, counters, problem, run,
    signup_body,
};

const GET: &str = "GET /health HTTP/1.1\r\nHost: x\r\n";

fn signup(headers: &str, email: &str) -> String {
    let body = signup_body(email).to_string();
    format!(
        "POST /signup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

/// Whether another request on this connection is served.
fn still_serves(connection: &mut Connection) -> bool {
    connection.send(format!("{GET}\r\n"));
    connection
        .response()
        .is_some_and(|response| response.status == 200)
}

#[rstest]
#[case::bare("Connection: upgrade\r\n")]
#[case::websocket("Connection: Upgrade\r\nUpgrade: websocket\r\n")]
#[case::unknown("Connection: keep-alive, Upgrade\r\nUpgrade: foo\r\n")]
#[case::http2(
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
)]
#[case::no_connection("Upgrade: websocket\r\n")]
#[tokio::test]
async fn an_unsupported_upgrade_is_ignored(#[case] headers: &str) {
    let service = Service::start(Sqlite).await;
    let mut connection = service.connect();
    for turn in 0..3 {
        connection.send(format!("{GET}{headers}\r\n"));
        let response = connection.response().expect("a response");
        assert_eq!(response.status, 200);
        assert_eq!(response.header("connection"), None, "{response:?}");
        // The length of the body is still respected.
        connection.send(signup(headers, &format!("ada{turn}@example.org")));
        let response = connection.response().expect("a response");
        assert_eq!(response.status, 201, "{response:?}");
        assert_eq!(response.header("connection"), None, "{response:?}");
    }
}

#[tokio::test]
async fn only_a_response_that_ends_its_connection_announces_it() {
    let service = Service::start(Sqlite).await;
    for (request, closes) in [
        (format!("{GET}\r\n"), false),
        (format!("{GET}Connection: close\r\n\r\n"), true),
        ("GET /health HTTP/1.0\r\n\r\n".to_owned(), true),
        // An unread body: it could not be separated from what follows.
        (format!("{GET}Content-Length: 20000\r\n\r\n{{"), true),
        (format!("{GET}Transfer-Encoding: chunked\r\n\r\n"), true),
        (
            "POST /users HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{".to_owned(),
            true,
        ),
        ("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), false),
        (signup("", "ada@example.org"), false),
        (signup("", "ada@example.org"), false),
        (signup("Idempotency-Key: \r\n", "bob@example.org"), true),
    ] {
        let mut connection = service.connect();
        connection.send(&request);
        let response = connection.response().expect("a response");
        let announces = response.header("connection") == Some("close");
        assert!(
            announces == closes || request.contains("HTTP/1.0"),
            "{request}: {response:?}"
        );
        if closes {
            assert!(connection.is_closed(), "{request}");
        } else {
            assert!(still_serves(&mut connection), "{request}");
        }
    }
}

#[rstest]
#[case::unknown_path("POST /nowhere", "", 404)]
#[case::wrong_method("POST /users", "", 405)]
#[case::wrong_type("POST /signup", "Content-Type: text/plain\r\n", 415)]
#[case::too_large(
    "POST /signup",
    "Content-Type: application/json\r\nContent-Length: 99999\r\n",
    413
)]
#[case::bad_key(
    "POST /signup",
    "Content-Type: application/json\r\nIdempotency-Key: \r\nContent-Length: 9\r\n",
    400
)]
#[tokio::test]
async fn a_request_refused_by_its_head_gets_no_100_continue(
    #[case] target: &str,
    #[case] headers: &str,
    #[case] status: u16,
) {
    let service = Service::start(Sqlite).await;
    let mut connection = service.connect();
    let length = if headers.contains("Length") {
        ""
    } else {
        "Content-Length: 9\r\n"
    };
    connection.send(format!(
        "{target} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n{length}{headers}\r\n"
    ));
    let response = connection.response().expect("a response");
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("connection"), Some("close"));
    assert!(connection.is_closed());
}

#[tokio::test]
async fn an_acceptable_request_gets_100_continue() {
    let service = Service::start(Sqlite).await;
    let request = signup("Expect: 100-continue\r\n", "ada@example.org");
    let (head, body) = request.split_once("\r\n\r\n").expect("a head");
    let mut connection = service.connect();
    connection.send(format!("{head}\r\n\r\n"));
    assert_eq!(connection.response().expect("a response").status, 100);
    connection.send(body);
    assert_eq!(connection.response().expect("a response").status, 201);
    assert!(still_serves(&mut connection));
}

/// Guarantee L3.
#[rstest]
#[tokio::test]
async fn pipelined_requests_are_bounded_in_memory(
    #[values(Sqlite, Postgres)] backend: Backend,
    // With a body that hides the start of the next request, and without.
    #[values("x\ny", "")] body: &str,
) {
    const CONNECTIONS: usize = 30;
    const EACH: u64 = 256 * 1024;
    // The first request takes long, and the ones after it have to wait.
    let settings = [
        ("BCRYPT_COST", "14"),
        ("BCRYPT_THREADS", "1"),
        ("BCRYPT_LANES", "1"),
        // Enough for it, even if other tests use the processor as well.
        ("REQUEST_TIMEOUT_MS", "60000"),
    ];
    let service = Service::start_with(backend, &settings).await;
    // The pages of the program that requests need are no memory of connections: one request of each kind first.
    assert_eq!(service.sign_up("first@example.org").await.status(), 201);
    assert_eq!(service.get("/").await.status(), 200);
    let before = service.resident_bytes();
    let small = format!(
        "GET / HTTP/1.1\r\nHost:x\r\nContent-Length:{}\r\n\r\n{body}",
        body.len()
    );
    let mut connections: Vec<Connection> = (0..CONNECTIONS).map(|_| service.connect()).collect();
    for (number, connection) in connections.iter_mut().enumerate() {
        connection.send(signup("", &format!("a{number}@example.org")));
        connection.send_for(Duration::from_millis(50), small.as_bytes());
    }
    let grown = service.resident_bytes().saturating_sub(before);
    let allowed = EACH * u64::try_from(CONNECTIONS).expect("few");
    assert!(
        grown < allowed,
        "{grown} bytes for {CONNECTIONS} connections"
    );
    assert_eq!(service.get("/health").await.status(), 200);
}

#[tokio::test]
async fn a_long_target_is_too_large_and_not_malformed() {
    let service = Service::start(Sqlite).await;
    for length in [40_000, 70_000] {
        let mut connection = service.connect();
        let cursor = "a".repeat(length);
        connection.send(format!(
            "GET /users?cursor={cursor} HTTP/1.1\r\nHost: x\r\n\r\n"
        ));
        let response = connection.response().expect("a response");
        response.problem(431, "headers-too-large");
        assert!(connection.is_closed());
    }
}

/// Guarantee L5.
#[tokio::test]
async fn idle_connections_make_room_for_new_ones() {
    let service = Service::start_with(Sqlite, &[("HTTP_MAX_CONNECTIONS", "40")]).await;
    let mut idle: Vec<Connection> = (0..40)
        .map(|_| {
            let mut connection = service.connect();
            assert!(still_serves(&mut connection));
            connection
        })
        .collect();
    let begun = Instant::now();
    assert_eq!(service.get("/health").await.status(), 200);
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    // The longest idle connections were closed first; the newest are still open.
    assert!(idle[0].is_closed());
    assert!(still_serves(&mut idle[39]));
}

#[rstest]
#[tokio::test]
async fn the_connection_limit_is_shared_by_all_threads(#[values("16", "1")] workers: &str) {
    let settings = [
        ("HTTP_WORKERS", workers),
        ("HTTP_MAX_CONNECTIONS", "4"),
        ("HTTP_READ_TIMEOUT_MS", "60000"),
    ];
    let service = Service::start_with(Sqlite, &settings).await;
    let mut kept = Vec::new();
    for _ in 0..12 {
        let mut connection = service.connect();
        connection.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        let metrics = connection.response().expect("a response").body;
        let open = metrics
            .lines()
            .find_map(|line| line.strip_prefix("active_connections "));
        let open: u32 = open.and_then(|open| open.parse().ok()).expect("a figure");
        assert!(open <= 4, "{open}");
        // It stays open until the service closes it.
        kept.push(connection);
    }
}

#[tokio::test]
async fn on_loopback_only_loopback_hosts_are_served() {
    let service = Service::start(Sqlite).await;
    for (host, status) in [
        ("localhost", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]", 200),
        ("x", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:80", 421),
    ] {
        let mut connection = service.connect();
        connection.send(format!("GET /users HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let response = connection.response().expect("a response");
        assert_eq!(response.status, status, "{host}");
        if status == 421 {
            response.problem(421, "misdirected-request");
            assert!(connection.is_closed());
        }
    }
    let mut connection = service.connect();
    connection.send("GET http://evil.example/users HTTP/1.1\r\nHost: localhost\r\n\r\n");
    connection
        .response()
        .expect("a response")
        .problem(421, "misdirected-request");
}

#[rstest]
#[tokio::test]
async fn probes_and_metrics_may_have_a_separate_listener(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let settings = [("OPERATIONS_PORT", "0")];
    let service = Service::start_with(backend, &settings).await;
    let ready = service
        .log_lines()
        .into_iter()
        .find(|line| line["message"] == "ready: listening");
    let ready = ready.expect("it is ready");
    let operations = ready["operations"].as_str().expect("an address").to_owned();
    for path in ["/health", "/ready", "/metrics"] {
        problem(service.get(path).await, 404, "not-found").await;
        let response = service.client.get(format!("http://{operations}{path}"));
        assert_eq!(
            response.send().await.expect("a response").status(),
            200,
            "{path}"
        );
    }
    assert_eq!(service.get("/users").await.status(), 200);
    for path in ["/users", "/docs", "/"] {
        let response = service.client.get(format!("http://{operations}{path}"));
        problem(response.send().await.expect("a response"), 404, "not-found").await;
    }
    let port = operations.rsplit_once(':').expect("a port").1;
    let main = service.address.port().to_string();
    let checked = run(
        &["healthcheck"],
        &[("PORT", main.as_str()), ("OPERATIONS_PORT", port)],
    );
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    assert!(checked.stdout.contains(&operations), "{checked:?}");
}

#[tokio::test]
async fn an_operations_port_in_use_is_a_one_line_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}/a.db", folder.path().display());
    let output = run(
        &[],
        &[
            ("PORT", "0"),
            ("OPERATIONS_PORT", &port),
            ("DATABASE_URL", &url),
        ],
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        output.stderr.contains(&format!("127.0.0.1:{port}")),
        "{output:?}"
    );
}

#[rstest]
#[tokio::test]
async fn every_response_has_the_headers_for_browsers_and_caches(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = Service::start(backend).await;
    let created = service.sign_up("ada@example.org").await;
    let location = created.headers()["location"]
        .to_str()
        .expect("ASCII")
        .to_owned();
    let taken = service.sign_up("ada@example.org").await;
    let mut responses = vec![created, taken];
    for path in [
        location.as_str(),
        "/users",
        "/users?email=ada@example.org",
        "/users/none",
        "/health",
        "/ready",
        "/metrics",
        "/nowhere",
        "/openapi.json",
        "/docs",
        "/problems",
        "/problems/not-found",
    ] {
        responses.push(service.get(path).await);
    }
    for response in responses {
        let url = response.url().clone();
        let header = |name| {
            response
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        assert_eq!(header("x-content-type-options"), Some("nosniff"), "{url}");
        let kept = header("cache-control").unwrap_or_else(|| panic!("{url}"));
        let has_person = url.path().starts_with("/users") || url.path() == "/signup";
        // A user has a tag, by which its client asks whether its copy is current.
        let wanted = if header("etag").is_some() {
            "private, no-cache"
        } else {
            "no-store"
        };
        assert!(!has_person || kept == wanted, "{url}: {kept}");
        if header("content-type").is_some_and(|kind| kind.starts_with("text/html")) {
            let policy = header("content-security-policy").unwrap_or_else(|| panic!("{url}"));
            assert!(policy.contains("frame-ancestors 'none'"), "{url}: {policy}");
            assert_eq!(header("referrer-policy"), Some("no-referrer"), "{url}");
        }
    }
}

#[tokio::test]
async fn only_allowed_origins_get_cors_headers() {
    let allowed = "https://app.example";
    let settings = [(
        "CORS_ALLOWED_ORIGINS",
        "http://other.example,https://app.example",
    )];
    for (settings, origin, may) in [
        (&settings[..], allowed, true),
        (&settings[..], "https://evil.example", false),
        (&settings[..], "https://app.example.evil.example", false),
        (&[], allowed, false),
    ] {
        let service = Service::start_with(Sqlite, settings).await;
        let preflight = service
            .client
            .request(reqwest::Method::OPTIONS, service.url("/signup"))
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header(
                "Access-Control-Request-Headers",
                "content-type,idempotency-key,if-none-match",
            );
        let preflight = preflight.send().await.expect("a response");
        let body = signup_body("ada@example.org");
        let signup = service.signup(&body).header("Origin", origin);
        let signup = signup.send().await.expect("a response");
        assert_eq!(signup.status(), 201);
        for response in [preflight, signup] {
            let granted = response.headers().get("access-control-allow-origin");
            assert_eq!(
                granted.is_some_and(|to| to == origin),
                may,
                "{origin}: {response:?}"
            );
            assert!(
                granted.is_none_or(|to| to == origin),
                "{origin}: {response:?}"
            );
        }
    }
}

#[tokio::test]
async fn it_serves_with_a_low_limit_of_open_files() {
    use std::io::{BufRead, BufReader, Read, Write};
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 300 && exec \"$0\""])
        .arg(env!("CARGO_BIN_EXE_signup-service"))
        .env_clear()
        .envs(counters())
        .envs([
            ("PORT", "0"),
            ("HTTP_WORKERS", "256"),
            ("LOG_FORMAT", "json"),
        ])
        .current_dir(folder.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("sh runs");
    let mut warned = false;
    let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
    let mut address = None;
    for line in lines.map_while(Result::ok) {
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        warned |= line["open_files"] == 300;
        if line["message"] == "ready: listening" {
            address = line["address"].as_str().map(str::to_owned);
            break;
        }
    }
    let served = address.map(|address| {
        let mut stream = std::net::TcpStream::connect(address).expect("it listens");
        stream
            .write_all(b"GET /health HTTP/1.0\r\n\r\n")
            .expect("written");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("read");
        text
    });
    process.kill().expect("it runs");
    process.wait().expect("it ends");
    assert!(warned);
    let served = served.expect("it began to serve");
    assert!(
        served.starts_with("HTTP/1.0 200") || served.starts_with("HTTP/1.1 200"),
        "{served}"
    );
}
