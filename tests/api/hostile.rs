//! Malicious requests. Each ends in a problem with ids or a closed connection, within its time limit, and costs the
//! service next to nothing.

use std::time::{Duration, Instant};

use rstest::rstest;

use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Connection, Service, problem, signup_body,
};

const QUICK: [(&str, &str); 1] = [("HTTP_READ_TIMEOUT_MS", "1000")];
const HEAD: &str = "POST /signup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";

/// How long a connection was open until the service closed it.
fn time_until_closed(connection: &mut Connection, begun: Instant) -> Duration {
    assert!(connection.is_closed());
    begun.elapsed()
}

/// Sends the bytes one by one, repeatedly, until the time is over or the service responds.
fn drip(connection: &mut Connection, bytes: &[u8], time: Duration) {
    let begun = Instant::now();
    for byte in bytes.iter().cycle() {
        if begun.elapsed() > time || connection.has_response(Duration::from_millis(20)) {
            return;
        }
        connection.send([*byte]);
    }
}

/// Guarantee L4.
#[rstest]
#[tokio::test]
async fn a_head_that_never_ends_is_cut_by_the_time_limit(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = Service::start_with(backend, &QUICK).await;
    let mut connection = service.connect();
    let begun = Instant::now();
    connection.send("GET /health HTTP/1.1\r\nX-Slow: ");
    drip(&mut connection, b"a", Duration::from_secs(20));
    connection
        .response()
        .expect("a response")
        .problem(408, "request-timeout");
    let took = time_until_closed(&mut connection, begun);
    assert!((0.9..6.0).contains(&took.as_secs_f64()), "{took:?}");
}

/// Guarantee L4.
#[rstest]
#[tokio::test]
async fn a_body_that_never_ends_is_cut_by_the_time_limit(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = Service::start_with(backend, &QUICK).await;
    let mut connection = service.connect();
    let begun = Instant::now();
    connection.send(format!("{HEAD}Content-Length: 10000\r\n\r\n{{"));
    drip(&mut connection, b" ", Duration::from_secs(20));
    connection
        .response()
        .expect("a response")
        .problem(408, "request-timeout");
    let took = time_until_closed(&mut connection, begun);
    assert!((0.9..6.0).contains(&took.as_secs_f64()), "{took:?}");

    let mut chunked = service.connect();
    chunked.send(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n"));
    drip(&mut chunked, b"1\r\n \r\n", Duration::from_secs(20));
    chunked
        .response()
        .expect("a response")
        .problem(408, "request-timeout");
    assert!(chunked.is_closed());
}

#[rstest]
#[tokio::test]
async fn an_unneeded_chunked_body_is_not_awaited(#[values(Sqlite, Postgres)] backend: Backend) {
    let settings = [
        QUICK[0],
        ("HTTP_KEEP_ALIVE_MS", "500"),
        ("REQUEST_TIMEOUT_MS", "500"),
    ];
    let service = Service::start_with(backend, &settings).await;
    for (head, status) in [("GET /health HTTP/1.1", 200), ("POST /users HTTP/1.1", 405)] {
        for drips in [true, false] {
            let mut connection = service.connect();
            let begun = Instant::now();
            connection.send(format!(
                "{head}\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            ));
            assert_eq!(connection.response().expect("a response").status, status);
            if drips {
                drip(&mut connection, b"1\r\n \r\n", Duration::from_secs(20));
            }
            let took = time_until_closed(&mut connection, begun);
            assert!(took.as_secs_f64() < 6.0, "{head}: {took:?}");
        }
    }
}

#[rstest]
#[tokio::test]
async fn a_client_that_never_reads_costs_no_memory(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let before = service.resident_bytes();
    let connections: Vec<Connection> = (0..20)
        .map(|_| {
            let mut connection = service.connect();
            connection.send_for(
                Duration::from_millis(100),
                b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n",
            );
            connection
        })
        .collect();
    let grown = service.resident_bytes().saturating_sub(before);
    assert!(
        grown < 32 * 1024 * 1024,
        "{grown} bytes for {} connections",
        connections.len()
    );
    assert_eq!(service.get("/health").await.status(), 200);
}

/// Guarantee L4.
#[rstest]
#[tokio::test]
async fn a_client_that_never_reads_is_cut_by_the_time_limit(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let settings = [
        QUICK[0],
        ("HTTP_KEEP_ALIVE_MS", "500"),
        ("REQUEST_TIMEOUT_MS", "500"),
    ];
    let service = Service::start_with(backend, &settings).await;
    let mut connections: Vec<Connection> = (0..5).map(|_| service.connect()).collect();
    for connection in &mut connections {
        let many = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n".repeat(10);
        connection.send(many);
    }
    for connection in &mut connections {
        assert!(connection.is_cut(Duration::from_secs(20)));
    }
}

#[rstest]
#[tokio::test]
async fn headers_that_look_like_requests_are_headers(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let line = format!("X-Via: {} HTTP/1.1\r\n", "x".repeat(150));
    let mut connection = service.connect();
    connection.send(format!(
        "GET /health HTTP/1.1\r\nHost: x\r\n{}\r\n",
        line.repeat(40)
    ));
    assert_eq!(connection.response().expect("a response").status, 200);
}

#[rstest]
#[tokio::test]
async fn a_late_body_is_late_and_not_an_unknown_outcome(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    // The request's own limit is the shorter one.
    let settings = [
        ("HTTP_READ_TIMEOUT_MS", "5000"),
        ("REQUEST_TIMEOUT_MS", "700"),
    ];
    let service = Service::start_with(backend, &settings).await;
    let mut connection = service.connect();
    connection.send(format!("{HEAD}Content-Length: 10000\r\n\r\n{{"));
    connection
        .response()
        .expect("a response")
        .problem(408, "request-timeout");
}

#[rstest]
#[tokio::test]
async fn silent_connections_are_closed(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start_with(backend, &QUICK).await;
    let mut connection = service.connect();
    let begun = Instant::now();
    let _ = connection.response();
    let took = time_until_closed(&mut connection, begun);
    assert!(took.as_secs_f64() < 6.0, "{took:?}");
}

#[rstest]
#[tokio::test]
async fn an_unbounded_head_costs_no_memory(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let before = service.resident_bytes();
    let line = format!("X-Filler: {}\r\n", "x".repeat(8_000));
    let mut connections: Vec<Connection> = (0..20)
        .map(|_| {
            let mut connection = service.connect();
            connection.send("GET /health HTTP/1.1\r\n");
            for _ in 0..500 {
                connection.send(&line);
            }
            connection
        })
        .collect();
    let grown = service.resident_bytes().saturating_sub(before);
    assert!(grown < 32 * 1024 * 1024, "{grown} bytes for 80 MB of heads");
    for connection in &mut connections {
        connection
            .response()
            .expect("a response")
            .problem(431, "headers-too-large");
    }
    assert_eq!(service.get("/health").await.status(), 200);
}

#[rstest]
#[tokio::test]
async fn many_slow_clients_do_not_keep_others_waiting(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = Service::start(backend).await;
    let before = service.resident_bytes();
    let slow: Vec<Connection> = (0..300)
        .map(|_| {
            let mut connection = service.connect();
            connection.send(format!("{HEAD}Content-Length: 10000\r\n\r\n{{"));
            connection
        })
        .collect();
    let begun = Instant::now();
    assert_eq!(service.get("/users").await.status(), 200);
    assert!(begun.elapsed().as_millis() < 4_000, "{:?}", begun.elapsed());
    let grown = service.resident_bytes().saturating_sub(before);
    assert!(
        grown < 64 * 1024 * 1024,
        "{grown} bytes for {} connections",
        slow.len()
    );
}

#[rstest]
#[tokio::test]
async fn ambiguous_lengths_are_refused(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    // Bytes that one server reads as a body, another would read as a second request.
    for head in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5x\r\n",
        "Transfer-Encoding: identity, chunked, gzip\r\n",
        "Transfer-Encoding: xchunked\r\n",
    ] {
        let mut connection = service.connect();
        connection.send(format!(
            "{HEAD}{head}\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
        ));
        let response = connection
            .response()
            .unwrap_or_else(|| panic!("no response: {head}"));
        assert_eq!(response.status, 400, "{head}: {response:?}");
        response.problem(400, "malformed-request");
        assert!(connection.is_closed(), "{head}");
    }
}

#[rstest]
#[case::body(
    "POST /signup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Content-Length: 1000000000\r\n\r\n"
)]
#[case::head("GET / HTTP/1.1\r\nHost: x\r\nX-Long: ")]
#[tokio::test]
async fn data_after_a_refusal_is_drained_for_a_limited_time(#[case] begin: &str) {
    const MOST: usize = 32 * 1024 * 1024;
    let service = Service::start(Sqlite).await;
    let mut connection = service.connect();
    connection.send(begin);
    // The buffers of the system for both sides are some megabytes.
    let sent = connection.send_for(Duration::from_secs(5), &[b'x'; 1024]);
    assert!(sent < MOST, "{sent} bytes were taken");
    assert_eq!(service.get("/health").await.status(), 200);
}

#[rstest]
#[tokio::test]
async fn trailers_are_ignored_and_invalid_ones_are_malformed(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = Service::start(backend).await;
    let send = |number: usize, trailers: &str| {
        let body = signup_body(&format!("ada{number}@example.org")).to_string();
        let mut connection = service.connect();
        connection.send(format!(
            "POST /signup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n{trailers}\r\n",
            body.len()
        ));
        (connection.response().expect("a response"), connection)
    };
    for (number, trailers) in [
        "",
        "X-Checksum: 1\r\n",
        // None of these affects the request, whatever its name.
        "Content-Length: 5\r\nIdempotency-Key: \"a\"\r\nHost: y\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let (response, mut connection) = send(number, trailers);
        assert_eq!(response.status, 201, "{trailers:?}: {response:?}");
        connection.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(connection.response().expect("a response").status, 200);
    }
    let many = "a: b\r\n".repeat(2_000);
    for (number, trailers) in [
        "no colon\r\n",
        "bad name : x\r\n",
        ": x\r\n",
        "a: \0\r\n",
        many.as_str(),
    ]
    .into_iter()
    .enumerate()
    {
        let (response, mut connection) = send(100 + number, trailers);
        response.problem(400, "malformed-request");
        assert!(connection.is_closed(), "{trailers:?}");
    }
}

#[rstest]
#[tokio::test]
async fn a_hundred_headers_are_too_many_and_ninety_are_not(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = Service::start(backend).await;
    let with_headers = |count: usize| {
        let headers: Vec<String> = (0..count).map(|n| format!("X-{n}: {n}\r\n")).collect();
        let headers = headers.concat();
        let mut connection = service.connect();
        connection.send(format!("GET /health HTTP/1.1\r\nHost: x\r\n{headers}\r\n"));
        connection.response().expect("a response")
    };
    assert_eq!(with_headers(90).status, 200);
    with_headers(100).problem(431, "headers-too-large");
}

#[rstest]
#[tokio::test]
async fn invalid_percent_encoding_is_a_client_error(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    for (target, status, slug) in [
        ("/users/%zz", 404, "user-not-found"),
        ("/users/%", 404, "user-not-found"),
        ("/users/%ff%fe", 404, "user-not-found"),
        ("/users/%2e%2e%2fready", 404, "user-not-found"),
        ("/%zz", 404, "not-found"),
        ("/docs/%zz", 404, "not-found"),
        ("/docs/..%2f..%2fetc%2fpasswd", 404, "not-found"),
        ("/problems/%00", 404, "not-found"),
        ("/users?email=%zz", 400, "invalid-parameter"),
        ("/users?limit=%", 400, "invalid-parameter"),
        ("/users?cursor=%ff", 400, "invalid-parameter"),
    ] {
        let mut connection = service.connect();
        connection.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let response = connection
            .response()
            .unwrap_or_else(|| panic!("no response: {target}"));
        assert_eq!(response.status, status, "{target}: {response:?}");
        response.problem(status, slug);
    }
}

/// Guarantee L6.
#[rstest]
#[tokio::test]
async fn invalid_http_gets_a_problem_and_closes_the_connection(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = Service::start(backend).await;
    for bytes in [
        "nonsense\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost x\r\n\r\n",
        "GET / HTTP/1.1\r\n: x\r\n\r\n",
        "G\u{e9}T / HTTP/1.1\r\nHost: x\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03\r\n\r\n",
    ] {
        let mut connection = service.connect();
        connection.send(bytes);
        let response = connection
            .response()
            .unwrap_or_else(|| panic!("no response: {bytes:?}"));
        response.problem(400, "malformed-request");
        assert!(connection.is_closed(), "{bytes:?}");
    }
    assert_eq!(service.get("/health").await.status(), 200);
}

#[rstest]
#[tokio::test]
async fn requests_in_one_packet_are_served_in_order(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let mut connection = service.connect();
    connection.send(
        "GET /health HTTP/1.1\r\nHost: x\r\nX-Request-ID: a\r\n\r\n\
         GET /nowhere HTTP/1.1\r\nHost: x\r\nX-Request-ID: b\r\n\r\n\
         nonsense\r\n\r\n",
    );
    let first = connection.response().expect("a response");
    assert_eq!(
        (first.status, first.header("x-request-id")),
        (200, Some("a"))
    );
    let second = connection.response().expect("a response");
    assert_eq!(
        (second.status, second.header("x-request-id")),
        (404, Some("b"))
    );
    connection
        .response()
        .expect("a response")
        .problem(400, "malformed-request");
}

#[rstest]
#[tokio::test]
async fn an_invalid_host_is_refused(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    for head in [
        "GET /health HTTP/1.1\r\n",
        "GET /health HTTP/1.1\r\nHost:\r\n",
        "GET /health HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
        "GET /health HTTP/1.1\r\nHost: a\r\nX: y\r\nhost: b\r\n",
        "GET /health HTTP/1.1\r\nHost: a b\r\n",
        "GET /health HTTP/1.1\r\nHost: a, b\r\n",
        "GET /health HTTP/1.1\r\nHost: a/b\r\n",
        "GET /health HTTP/1.1\r\nHost: user@a\r\n",
        "GET /health HTTP/1.1\r\nHost: a:port\r\n",
        "GET /health HTTP/1.1\r\nHost: a:65536\r\n",
        "GET /health HTTP/1.1\r\nHost: http://a\r\n",
        "GET /health HTTP/1.1\r\nHost: \u{e9}\r\n",
        "GET /health HTTP/1.0\r\nHost: a b\r\n",
        "GET /nowhere HTTP/1.1\r\n",
        "POST /signup HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n",
    ] {
        let mut connection = service.connect();
        connection.send(format!("{head}\r\n"));
        let response = connection
            .response()
            .unwrap_or_else(|| panic!("no response: {head:?}"));
        assert_eq!(response.status, 400, "{head:?}: {response:?}");
        response.problem(400, "malformed-request");
        assert!(connection.is_closed(), "{head:?}");
    }
    for head in [
        "GET /health HTTP/1.0\r\n",
        "GET /health HTTP/1.1\r\nHost: LOCALHOST\r\n",
        "GET /health HTTP/1.1\r\nHost: localhost:8000\r\n",
        "GET /health HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n",
        "GET /health HTTP/1.1\r\nhost: [::1]:8000\r\n",
    ] {
        let mut connection = service.connect();
        connection.send(format!("{head}\r\n"));
        let response = connection.response().expect("a response");
        assert_eq!(response.status, 200, "{head:?}: {response:?}");
    }
}

#[rstest]
#[tokio::test]
async fn a_too_long_target_is_refused(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    for (path, fits) in [("/users?x=", 200), ("/", 404), ("http://localhost/", 404)] {
        for (length, status) in [(8_192, fits), (8_193, 414), (30_000, 414)] {
            // Of an absolute target, the scheme does not count.
            let counted = path.trim_start_matches("http://").len();
            let target = format!("{path}{}", "a".repeat(length - counted));
            let mut connection = service.connect();
            connection.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
            let response = connection.response().expect("a response");
            assert_eq!(response.status, status, "{path} {length}: {response:?}");
            if status == 414 {
                response.problem(414, "uri-too-long");
                assert!(connection.is_closed());
            }
        }
    }
}

#[rstest]
#[tokio::test]
async fn more_than_sixteen_parameters_are_refused(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    for (parameter, count, status) in [
        ("a=1", 16, 200),
        ("a=1", 17, 400),
        ("a=1", 2_000, 400),
        ("", 17, 400),
        ("", 8_000, 400),
    ] {
        let query = vec![parameter; count].join("&");
        let response = service.get(&format!("/users?{query}")).await;
        assert_eq!(response.status(), status, "{count} times {parameter}");
        if status == 400 {
            problem(response, 400, "invalid-parameter").await;
        }
    }
}
