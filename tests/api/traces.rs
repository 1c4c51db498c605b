//! Traces: the span tree of a signup, from the caller's span to each statement, at a real OTLP receiver; sampling; and
//! the cost of a collector that does not accept spans.

use std::fmt::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use reqwest::Response;
use rstest::rstest;
use throwaway_servers::redis;

use crate::harness::collector::{Collector, Protocol, attribute, hex};
use crate::harness::{Backend, Service, signup_body};
use Backend::{Postgres, Sqlite};
use Protocol::{Grpc, Http};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// The tests call as a trusted proxy.
const TRUSTED: (&str, &str) = ("TRUSTED_PROXIES", "127.0.0.1");

/// Spans are exported soon, so that tests need not wait.
const EXPORT_SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "50");

fn traceparent(sampled: bool) -> String {
    format!("00-{TRACE}-{CALLER}-{:02x}", u8::from(sampled))
}

/// The tree under a span: a line for each span, indented by depth, in order of start.
fn tree(spans: &[Span], parent: &[u8], depth: usize) -> String {
    let mut children: Vec<&Span> = spans
        .iter()
        .filter(|span| span.parent_span_id == parent)
        .collect();
    children.sort_by_key(|span| span.start_time_unix_nano);
    let mut text = String::new();
    for child in children {
        let _ = writeln!(text, "{}{}", "  ".repeat(depth), child.name);
        text += &tree(spans, &child.span_id, depth + 1);
    }
    text
}

fn find<'spans>(spans: &'spans [Span], name: &str) -> &'spans Span {
    let found = spans.iter().find(|span| span.name == name);
    found.unwrap_or_else(|| panic!("no span {name}"))
}

fn is_error(span: &Span) -> bool {
    let status = span.status.as_ref().map(|status| status.code);
    status == Some(StatusCode::Error as i32)
}

async fn keyed_signup(service: &Service, email: &str, sampled: bool) -> Response {
    let request = service.signup(&signup_body(email));
    let request = request.header("Idempotency-Key", "a-key");
    let request = request.header("traceparent", traceparent(sampled));
    request.send().await.expect("a response")
}

#[rstest]
#[tokio::test]
async fn the_tree_of_a_signup(
    #[values(Grpc, Http)] protocol: Protocol,
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let collector = Collector::start(protocol);
    let redis = redis::server().database();
    let mut service = Service::start_with(
        backend,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.name()),
            ("REDIS_URL", &redis.url()),
            TRUSTED,
            EXPORT_SOON,
        ],
    )
    .await;
    let breaker = "circuit_breaker_open{dependency=\"redis\"} 0";
    service.wait_for_metric(breaker).await;
    let response = keyed_signup(&service, "ada@example.org", true).await;
    assert_eq!(response.status(), 201);
    let place = response.headers()["traceresponse"].to_str().expect("ASCII");
    let place = place.to_owned();

    let spans = collector.trace(TRACE, "POST /signup").await;
    let root = find(&spans, "POST /signup");
    assert_eq!(place, format!("00-{TRACE}-{}-01", hex(&root.span_id)));
    assert_eq!(hex(&root.parent_span_id), CALLER);
    assert_eq!(root.kind, SpanKind::Server as i32);
    assert_eq!(
        tree(&spans, &root.parent_span_id, 0),
        "POST /signup\n\
         \x20 validation\n\
         \x20 idempotency look-up\n\
         \x20   SET\n\
         \x20   connection\n\
         \x20   SELECT idempotency_records\n\
         \x20 hash wait\n\
         \x20 hash\n\
         \x20 transaction\n\
         \x20   connection\n\
         \x20   BEGIN\n\
         \x20   INSERT idempotency_records\n\
         \x20   SAVEPOINT\n\
         \x20   INSERT users\n\
         \x20   INSERT users_read\n\
         \x20   INSERT user_events\n\
         \x20   UPDATE idempotency_records\n\
         \x20   COMMIT\n\
         \x20 share outcome\n\
         \x20   SET\n"
    );
    assert!(!spans.iter().any(is_error));
    let attributes = [
        ("http.request.method", "POST"),
        ("http.route", "/signup"),
        ("http.response.status_code", "201"),
    ];
    for (name, value) in attributes {
        assert_eq!(attribute(root, name).as_deref(), Some(value), "{name}");
    }
    let system = match backend {
        Sqlite => "sqlite",
        Postgres => "postgresql",
    };
    let insert = find(&spans, "INSERT users");
    assert_eq!(attribute(insert, "db.system.name").as_deref(), Some(system));
    assert_eq!(insert.kind, SpanKind::Client as i32);
    let resource = collector.resource();
    assert_eq!(resource["service.name"], "signup-service");
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));

    // The log lines of the request have its trace id.
    let created = service.wait_for_line("account created").await;
    assert_eq!(created["trace_id"], TRACE);
    assert_eq!(created["span_id"], hex(&root.span_id));
    for secret in ["ada@example.org", "correct horse", "a-key", "Lovelace"] {
        assert!(!collector.everything().contains(secret), "{secret}");
    }
}

#[rstest]
#[tokio::test]
async fn a_read_is_traced_with_its_statement(#[values(Sqlite, Postgres)] backend: Backend) {
    let collector = Collector::start(Http);
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url());
    let service = Service::start_with(backend, &[endpoint, TRUSTED, EXPORT_SOON]).await;
    let path = format!("/users/{}", uuid::Uuid::nil());
    let request = service.client.get(service.url(&path));
    let request = request.header("traceparent", traceparent(true));
    assert_eq!(request.send().await.expect("a response").status(), 404);
    let spans = collector.trace(TRACE, "GET /users/{id}").await;
    let root = find(&spans, "GET /users/{id}");
    // A client error is not an error of the service.
    assert!(!is_error(root));
    assert_eq!(
        tree(&spans, &root.span_id, 0),
        "connection\nSELECT users_read\n"
    );
}

#[tokio::test]
async fn errors_are_recorded_where_they_happen() {
    let collector = Collector::start(Grpc);
    let url = collector.url();
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        TRUSTED,
        EXPORT_SOON,
    ];
    let mut service = Service::start_with(Postgres, &settings).await;
    let broken = "CREATE FUNCTION broken() RETURNS trigger AS \
         $$ BEGIN RAISE EXCEPTION 'ada@example.org' USING ERRCODE = '53100'; END $$ \
         LANGUAGE plpgsql; \
         CREATE TRIGGER broken BEFORE INSERT ON users_read \
         FOR EACH ROW EXECUTE FUNCTION broken()";
    service.database.execute(broken).await.expect("set");
    let response = keyed_signup(&service, "ada@example.org", true).await;
    assert_eq!(response.status(), 503);
    let spans = collector.trace(TRACE, "POST /signup").await;
    for (name, kind) in [
        ("INSERT users_read", "53100"),
        ("transaction", "53100"),
        ("POST /signup", "503"),
    ] {
        let span = find(&spans, name);
        assert!(is_error(span), "{name}");
        assert_eq!(attribute(span, "error.type").as_deref(), Some(kind));
    }
    assert!(!is_error(find(&spans, "INSERT users")));
    // The database's message is not exported.
    assert!(!collector.everything().contains("ada@example.org"));
    let line = service.wait_for_line("store unavailable").await;
    assert!(line["reason"].to_string().contains("53100"), "{line}");
    assert!(!service.log_text().contains("ada@example.org"));
}

#[rstest]
// The caller decides, unless the sampler ignores it.
#[case::the_caller_wants_it("parentbased_always_off", "1", Some(true), true)]
#[case::the_caller_does_not("parentbased_always_on", "1", Some(false), false)]
#[case::there_is_no_caller("parentbased_always_on", "1", None, true)]
#[case::the_caller_is_ignored("always_on", "1", Some(false), true)]
#[case::never("always_off", "1", Some(true), false)]
#[case::a_share_of_all("traceidratio", "1", None, true)]
#[case::a_share_of_none("traceidratio", "0", Some(true), false)]
#[tokio::test]
async fn which_requests_are_traced(
    #[case] sampler: &str,
    #[case] argument: &str,
    #[case] caller: Option<bool>,
    #[case] traced: bool,
) {
    let collector = Collector::start(Http);
    let url = collector.url();
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
        ("OTEL_TRACES_SAMPLER", sampler),
        ("OTEL_TRACES_SAMPLER_ARG", argument),
        TRUSTED,
        EXPORT_SOON,
    ];
    let mut service = Service::start_with(Sqlite, &settings).await;
    let mut request = service.client.get(service.url("/health"));
    if let Some(sampled) = caller {
        request = request.header("traceparent", traceparent(sampled));
    }
    let response = request.send().await.expect("a response");
    let place = response.headers()["traceresponse"].to_str().expect("ASCII");
    let parts: Vec<&str> = place.split('-').collect();
    let [_, trace_id, _, flags] = parts[..] else {
        panic!("{place}")
    };
    assert_eq!(flags, if traced { "01" } else { "00" });
    if caller.is_some() {
        assert_eq!(trace_id, TRACE);
    }
    // All spans are exported when the service stops.
    service.signal("TERM");
    assert!(service.wait().await.success());
    let spans = collector.spans();
    let names: Vec<&str> = spans.iter().map(|span| &*span.name).collect();
    let of_the_request = names.iter().filter(|name| **name == "GET /health").count();
    assert_eq!(of_the_request, usize::from(traced), "{names:?}");
}

/// A client that is not a trusted proxy joins a trace, but does not decide what is traced.
#[rstest]
#[case::wanted("parentbased_traceidratio", "0", true, false)]
#[case::wanted_with_a_chosen_trace("traceidratio", "0.000000001", true, false)]
#[case::hidden("parentbased_always_on", "1", false, true)]
#[tokio::test]
async fn an_untrusted_client_does_not_decide_what_is_traced(
    #[case] sampler: &str,
    #[case] argument: &str,
    #[case] flag: bool,
    #[case] traced: bool,
    #[values("", "192.0.2.0/24")] proxies: &str,
) {
    let collector = Collector::start(Http);
    let url = collector.url();
    let mut settings = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
        ("OTEL_TRACES_SAMPLER", sampler),
        ("OTEL_TRACES_SAMPLER_ARG", argument),
        EXPORT_SOON,
    ];
    if !proxies.is_empty() {
        settings.push(("TRUSTED_PROXIES", proxies));
    }
    let mut service = Service::start_with(Sqlite, &settings).await;
    // Low enough for any share above zero.
    let trace = format!("{:032x}", 1);
    let parent = format!("00-{trace}-{CALLER}-{:02x}", u8::from(flag));
    let request = service.client.get(service.url("/users"));
    // Its headers do not make it a trusted proxy, either.
    let request = request.header("X-Forwarded-For", "192.0.2.1");
    let request = request.header("traceparent", parent);
    let response = request.send().await.expect("a response");
    let place = response.headers()["traceresponse"].to_str().expect("ASCII");
    assert!(place.starts_with(&format!("00-{trace}-")), "{place}");
    assert!(
        place.ends_with(if traced { "-01" } else { "-00" }),
        "{place}"
    );
    let line = service.wait_for_line("request").await;
    assert_eq!(line["trace_id"], *trace);
    service.signal("TERM");
    assert!(service.wait().await.success());
    let spans = collector.spans();
    let made = spans.iter().any(|span| span.name == "GET /users");
    assert_eq!(made, traced);
}

#[tokio::test]
async fn two_traceparents_start_a_new_trace() {
    let service = Service::start_with(Sqlite, &[TRUSTED]).await;
    let mut connection = service.connect();
    let other = traceparent(true).replace(TRACE, &"c".repeat(32));
    connection.send(format!(
        "GET /health HTTP/1.1\r\nHost: x\r\ntraceparent: {}\r\ntraceparent: {other}\r\n\r\n",
        traceparent(true),
    ));
    let response = connection.response().expect("a response");
    let place = response
        .header("traceresponse")
        .expect("a place in a trace");
    let trace_id = place.split('-').nth(1).expect("four parts");
    assert!(trace_id != TRACE && trace_id != "c".repeat(32), "{place}");
}

/// A header that is too long would be copied to every span, so it is ignored.
#[tokio::test]
async fn a_tracestate_is_bounded_and_an_invalid_traceparent_starts_a_new_trace() {
    let collector = Collector::start(Http);
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url());
    let mut service = Service::start_with(Sqlite, &[endpoint, TRUSTED, EXPORT_SOON]).await;
    let get = |traceparent: &str, tracestate: &str| {
        let request = service.client.get(service.url("/health"));
        let request = request.header("traceparent", traceparent);
        request.header("tracestate", tracestate).send()
    };
    let sampled = traceparent(true);
    for state in ["vendor=value", &vec!["a=b"; 1_000].join(",")] {
        get(&sampled, state).await.expect("a response");
    }
    let zeros = format!("00-{}-{CALLER}-01", "0".repeat(32));
    for nonsense in ["nonsense", "00-", &zeros, &"x".repeat(5_000)] {
        let response = get(nonsense, "").await.expect("a response");
        let place = response.headers()["traceresponse"].to_str().expect("ASCII");
        let trace_id = place.split('-').nth(1).expect("four parts");
        assert!(trace_id != TRACE && trace_id != "0".repeat(32), "{place}");
    }
    service.signal("TERM");
    assert!(service.wait().await.success());
    let spans = collector.spans();
    let of_the_caller = spans.iter().filter(|span| hex(&span.trace_id) == TRACE);
    let mut states: Vec<&str> = of_the_caller.map(|span| &*span.trace_state).collect();
    states.sort_unstable();
    assert_eq!(states, ["", "vendor=value"]);
}

/// About the configured share is sampled, at random by trace id.
#[tokio::test]
async fn the_sampled_share_is_as_configured() {
    let collector = Collector::start(Http);
    let url = collector.url();
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        EXPORT_SOON,
    ];
    let mut service = Service::start_with(Sqlite, &settings).await;
    let users = format!("/users/{}", uuid::Uuid::nil());
    for _ in 0..400 {
        service.get(&users).await;
    }
    service.signal("TERM");
    assert!(service.wait().await.success());
    let spans = collector.spans();
    let traced = spans
        .iter()
        .filter(|span| span.name == "GET /users/{id}")
        .count();
    // Six standard deviations are 52.
    assert!((48..=152).contains(&traced), "{traced} of 400");
    // No statement is traced without its request.
    let statements = spans
        .iter()
        .filter(|span| span.name == "SELECT users_read")
        .count();
    assert_eq!(statements, traced);
}

/// The time limit of a request, which must not depend on the collector.
const AT_ONCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_collector_that_comes_back_gets_spans_again() {
    let collector = Collector::start(Http);
    collector.refuse(true);
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url());
    let mut service = Service::start_with(Sqlite, &[endpoint, EXPORT_SOON]).await;
    service.get("/health").await;
    service
        .wait_for_line("OTLP export failing, dropping spans")
        .await;
    assert!(dropped(&service, "export_failed").await > 0);
    assert!(collector.spans().is_empty());
    collector.refuse(false);
    service.get("/health").await;
    service.wait_for_line("OTLP export working again").await;
    assert!(!collector.spans().is_empty());
}

#[rstest]
#[tokio::test]
async fn an_unreachable_collector_costs_only_spans(#[values(Grpc, Http)] protocol: Protocol) {
    // No server listens there any more.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.name()),
        EXPORT_SOON,
    ];
    let mut service = Service::start_with(Sqlite, &settings).await;
    let begun = Instant::now();
    assert_eq!(service.sign_up("ada@example.org").await.status(), 201);
    assert!(begun.elapsed() < AT_ONCE);
    service
        .wait_for_line("OTLP export failing, dropping spans")
        .await;
    assert!(dropped(&service, "export_failed").await > 0);
    service.signal("TERM");
    assert!(service.wait().await.success());
}

#[rstest]
#[tokio::test]
async fn an_unresponsive_collector_costs_only_spans(#[values(Grpc, Http)] protocol: Protocol) {
    // It accepts connections, and does nothing else.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.name()),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "10"),
        // The queue does not drain during the test.
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "60000"),
        EXPORT_SOON,
    ];
    let mut service = Service::start_with(Sqlite, &settings).await;
    for _ in 0..30 {
        let begun = Instant::now();
        assert_eq!(service.get("/health").await.status(), 200);
        assert!(begun.elapsed() < AT_ONCE);
    }
    // The queue has room for ten.
    let lost = dropped(&service, "queue_full").await;
    assert!(lost >= 20, "{lost}");
    let begun = Instant::now();
    service.signal("TERM");
    assert!(service.wait().await.success());
    // It does not wait for the minute that an export may take.
    assert!(begun.elapsed() < Duration::from_secs(20));
}

async fn dropped(service: &Service, reason: &str) -> u64 {
    let metrics = service.get("/metrics").await.text().await.expect("text");
    let name = format!("trace_spans_dropped_total{{reason=\"{reason}\"}} ");
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix(&name));
    value.expect("the metric").parse().expect("a number")
}
