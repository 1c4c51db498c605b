//! Settings of the real binary: extreme combinations, secrets that must not be shown, standard variables, and
//! permissions of files. `config::walk` tests every value and pair of the table in the library.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rstest::rstest;
use serde_json::Value;
use throwaway_servers::redis;

use crate::harness::collector::{Collector, Protocol};
use crate::harness::{Backend, Database, Output, Service, counters, run};
use Backend::{Postgres, Sqlite};

/// Spans are exported soon, so that tests need not wait.
const EXPORT_SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "50");

/// Asserts that a refusal is one line with this exit code; returns the line.
fn refusal(output: &Output, code: i32) -> &str {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let text = output.stderr.trim_end();
    assert_eq!(text.lines().count(), 1, "{output:?}");
    assert!(text.starts_with("signup-service: "), "{output:?}");
    text
}

#[rstest]
#[case::no_grace(&[("SHUTDOWN_GRACE_MS", "0")])]
#[case::a_delay_longer_than_the_grace(&[("SHUTDOWN_GRACE_MS", "0"), ("SHUTDOWN_DELAY_MS", "100")])]
#[case::a_read_longer_than_a_request(&[("HTTP_READ_TIMEOUT_MS", "3600000"), ("REQUEST_TIMEOUT_MS", "2000")])]
#[case::a_request_shorter_than_a_read(&[("HTTP_READ_TIMEOUT_MS", "100"), ("REQUEST_TIMEOUT_MS", "3600000")])]
#[case::an_idle_moment_only(&[("HTTP_KEEP_ALIVE_MS", "100")])]
#[case::all_times_at_their_longest(&[
    ("HTTP_KEEP_ALIVE_MS", "3600000"),
    ("HTTP_READ_TIMEOUT_MS", "3600000"),
    ("REQUEST_TIMEOUT_MS", "3600000"),
    ("IDEMPOTENCY_TTL_SECONDS", "31536000"),
    ("RATE_LIMIT_SIGNUP", "1000000/86400h"),
])]
#[case::more_threads_than_connections(&[("HTTP_WORKERS", "8"), ("DATABASE_MAX_CONNECTIONS", "1")])]
#[case::more_threads_than_clients(&[("HTTP_WORKERS", "8"), ("HTTP_MAX_CONNECTIONS", "8")])]
#[case::a_queue_of_one(&[("BCRYPT_QUEUE", "1"), ("BCRYPT_THREADS", "16"), ("BCRYPT_LANES", "8")])]
#[case::the_longest_queue(&[("BCRYPT_QUEUE", "100000"), ("DATABASE_MAX_CONNECTIONS", "1000")])]
#[case::a_life_shorter_than_a_request(&[("IDEMPOTENCY_TTL_SECONDS", "1")])]
#[case::spans_without_a_pause(&[
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "1"),
    ("OTEL_BSP_SCHEDULE_DELAY", "10"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
])]
#[case::a_long_queue_of_spans(&[
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "65536"),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "65536"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
])]
#[tokio::test]
async fn extreme_combinations_of_settings_serve_and_stop(
    #[case] settings: &[(&str, &str)],
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mut service = Service::start_with(backend, settings).await;
    // A new connection for each request: the service may close an idle one at any moment.
    let client = reqwest::Client::builder().pool_max_idle_per_host(0);
    service.client = client.build().expect("a client");
    let body = crate::harness::signup_body("ada@example.org");
    let status = async || {
        let signup = service.signup(&body).header("Idempotency-Key", "k");
        signup.send().await.expect("a response").status()
    };
    // On a machine busy with other tests, the first ones may be refused as overloaded.
    let mut found = status().await;
    for _ in 0..100 {
        if found != 503 {
            break;
        }
        found = status().await;
    }
    assert_eq!(found, 201);
    assert_eq!(service.get("/users").await.status(), 200);
    service.signal("TERM");
    assert_eq!(service.wait().await.code(), Some(0));
    assert_eq!(service.database.counts().await, [1, 1, 1]);
    let is_panic = |line: &Value| line["message"] == "panic";
    assert!(
        !service.log_lines().iter().any(is_panic),
        "{}",
        service.log_text()
    );
}

/// The database of commands may also be set as that of queries.
#[tokio::test]
async fn the_read_url_may_be_the_write_url() {
    let database = Arc::new(Database::new(Postgres));
    let url = database.url();
    let service = Service::start_on(database, &[("DATABASE_READ_URL", &url)]).await;
    assert_eq!(service.sign_up("ada@example.org").await.status(), 201);
    let users: Value = service.get("/users").await.json().await.expect("JSON");
    assert_eq!(users["users"].as_array().map(Vec::len), Some(1));
}

/// Otherwise the server's library would panic, with nothing on standard error.
#[test]
fn more_threads_than_the_server_supports_are_refused() {
    let output = run(&[], &[("HTTP_WORKERS", "513")]);
    assert!(refusal(&output, 2).contains("from 1 to 512"), "{output:?}");
}

#[test]
fn one_value_for_both_secrets_is_refused() {
    let secret = "b".repeat(40);
    let both = [
        ("IDEMPOTENCY_SECRET", &*secret),
        ("IDEMPOTENCY_SECRET_PREVIOUS", &*secret),
    ];
    let output = run(&[], &both);
    assert!(refusal(&output, 2).contains("is the same as"), "{output:?}");
    assert!(!output.stderr.contains(&secret));
}

const CANARY: &str = "hunter2canary";

/// The exit code and all output of a process.
fn written(arguments: &[&str], settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = run(arguments, settings);
    (output.status.code(), output.stdout + &output.stderr)
}

/// A secret in the wrong place, or in a misspelt setting, is not printed.
#[test]
fn a_misplaced_secret_is_not_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("signup.toml");
    let path = file.to_str().expect("UTF-8");
    let url = format!("postgres://signup:{CANARY}@127.0.0.1:1/x");
    for variable in [
        "DATABASE_URL_FILE",
        "REDIS_URL_FILE",
        "IDEMPOTENCY_SECRET_FILE",
        "PORT_FILE",
        "HOST",
        "PORT",
        "RUST_LOG",
        "REDIS_URL",
        "DATABASE_READ_URL",
        "RATE_LIMIT_SIGNUP",
        "TRUSTED_PROXIES",
        "SIGNUP_CONFIG",
    ] {
        let (code, text) = written(&[], &[(variable, &url)]);
        assert_eq!(code, Some(2), "{variable}: {text}");
        assert!(!text.contains(CANARY), "{variable}: {text}");
    }
    for toml in [
        format!("\"{url}\" = 1"),
        format!("[database]\nurl = \"{url}"),
        format!("[database]\nurl = {url}"),
        format!("[idempotency.secret]\n\"{url}\" = 1"),
        format!("[redis]\nurl = [\"{url}\"]"),
        url.clone(),
    ] {
        std::fs::write(&file, &toml).expect("written");
        let (code, text) = written(&["--config", path], &[]);
        assert_eq!(code, Some(2), "{toml}: {text}");
        assert!(!text.contains(CANARY), "{text}");
    }
    for arguments in [
        &[url.as_str()][..],
        &["serve", &url],
        &["migrate", &url],
        &["--port", &url],
        &["--host", &url],
        &["--config", &url],
        &["--database-url", &url],
        &[&format!("--database-url={url}")],
    ] {
        let (code, text) = written(arguments, &[]);
        assert_eq!(code, Some(2), "{text}");
        assert!(!text.contains(CANARY), "{text}");
    }
}

/// Libraries may log their arguments, especially on errors.
#[rstest]
#[case::http("http/protobuf")]
#[case::grpc("grpc")]
#[tokio::test]
async fn no_library_logs_a_secret(#[case] protocol: &str, #[values(true, false)] reachable: bool) {
    let collector = Collector::start(match protocol {
        "grpc" => Protocol::Grpc,
        _ => Protocol::Http,
    });
    let redis = redis::server().database();
    let (collector_at, redis_at) = if reachable {
        (collector.url(), redis.url())
    } else {
        (
            "http://127.0.0.1:1".to_owned(),
            "redis://127.0.0.1:1/0".to_owned(),
        )
    };
    let with_password =
        |url: &str, user: &str| url.replacen("://", &format!("://{user}:{CANARY}@"), 1);
    let mut endpoint = with_password(&collector_at, CANARY);
    if protocol == "grpc" {
        endpoint += "/";
    } else {
        endpoint += "/v1/traces";
    }
    endpoint = format!("{endpoint}?token={CANARY}&{CANARY}");
    // The server refuses a password that it does not require.
    let redis_at = if reachable {
        redis_at
    } else {
        with_password(&redis_at, "")
    };
    let headers = format!("x-api-key={CANARY},authorization=Bearer%20{CANARY}");
    let secret = format!("{CANARY}-{CANARY}-{CANARY}");
    let other = format!("{CANARY}+{CANARY}+{CANARY}");
    let settings = [
        (
            "RUST_LOG",
            "trace,h2=trace,hyper=trace,tonic=trace,actix_http=trace",
        ),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_EXPORTER_OTLP_HEADERS", &*headers),
        ("REDIS_URL", &*redis_at),
        ("IDEMPOTENCY_SECRET", &*secret),
        ("IDEMPOTENCY_SECRET_PREVIOUS", &*other),
        EXPORT_SOON,
    ];
    let mut service = Service::start_with(Sqlite, &settings).await;
    let body = crate::harness::signup_body("ada@example.org");
    let signup = service.signup(&body).header("Idempotency-Key", "k");
    assert_eq!(signup.send().await.expect("a response").status(), 201);
    if reachable {
        let sent = "trace_spans_exported_total";
        assert!(
            service
                .get("/metrics")
                .await
                .text()
                .await
                .expect("text")
                .contains(sent)
        );
    } else {
        service
            .wait_for_line("OTLP export failing, dropping spans")
            .await;
        let line = service
            .wait_for_line("redis unavailable, starting without it")
            .await;
        assert_eq!(line["reason"], "connection refused", "{line}");
    }
    service.signal("TERM");
    assert!(service.wait().await.success());
    if reachable {
        assert!(!collector.spans().is_empty(), "the secrets were used");
    }
    let log = service.log_text();
    assert!(log.contains("\"TRACE\""), "{log}");
    let found: Vec<&str> = log.lines().filter(|line| line.contains(CANARY)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// Variables that a platform sets for all its programs do not prevent a start.
#[rstest]
#[case::compression(&[("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")], true)]
#[case::no_compression(&[("OTEL_EXPORTER_OTLP_COMPRESSION", "none")], true)]
#[case::a_compression_that_is_unknown(&[("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zstd")], true)]
#[case::a_trace_exporter(&[("OTEL_TRACES_EXPORTER", "otlp")], true)]
#[case::another_exporter(&[("OTEL_TRACES_EXPORTER", "console")], true)]
#[case::no_exporter(&[("OTEL_TRACES_EXPORTER", "none")], false)]
#[case::disabled(&[("OTEL_SDK_DISABLED", "True")], false)]
#[case::not_disabled(&[("OTEL_SDK_DISABLED", "1")], true)]
#[case::a_header_too_many(&[("OTEL_EXPORTER_OTLP_HEADERS", "nonsense")], true)]
#[case::other_signals(&[
    ("OTEL_METRICS_EXPORTER", "console"),
    ("OTEL_LOGS_EXPORTER", "none"),
    ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "x"),
    ("OTEL_PROPAGATORS", "b3"),
    ("OTEL_BSP_EXPORT_TIMEOUT", "0"),
    ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1"),
    ("OTEL_EXPORTER_OTLP_TIMEOUT", "ten"),
    ("OTEL_RESOURCE_ATTRIBUTES", "nonsense,a=b"),
], true)]
#[tokio::test]
async fn standard_variables_are_honoured_or_ignored(
    #[case] settings: &[(&str, &str)],
    #[case] leave: bool,
    #[values(Protocol::Grpc, Protocol::Http)] protocol: Protocol,
) {
    let collector = Collector::start(protocol);
    let url = collector.url();
    let mut all = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol.name()),
        EXPORT_SOON,
    ];
    all.extend(settings);
    let mut service = Service::start_with(Sqlite, &all).await;
    assert_eq!(service.get("/users").await.status(), 200);
    service.signal("TERM");
    assert!(service.wait().await.success());
    assert_eq!(
        !collector.spans().is_empty(),
        leave,
        "{}",
        service.log_text()
    );
}

#[tokio::test]
async fn the_variables_for_traces_take_precedence() {
    let collector = Collector::start(Protocol::Grpc);
    let url = collector.url();
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*url),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
        ("OTEL_SERVICE_NAME", "another-name"),
        EXPORT_SOON,
    ];
    let mut service = Service::start_with(Sqlite, &settings).await;
    service.get("/health").await;
    service.signal("TERM");
    assert!(service.wait().await.success());
    assert_eq!(collector.resource()["service.name"], "another-name");
}

/// A collector's redirect would send the spans, and the key in the headers, to another host.
#[tokio::test]
async fn a_redirect_of_the_collector_is_not_followed() {
    let other = Collector::start(Protocol::Http);
    let first = Collector::start(Protocol::Http);
    first.redirect(&format!("{}/v1/traces", other.url()));
    let url = first.url();
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=a"),
        EXPORT_SOON,
    ];
    let mut service = Service::start_with(Sqlite, &settings).await;
    service.get("/health").await;
    let line = service
        .wait_for_line("OTLP export failing, dropping spans")
        .await;
    assert_eq!(line["reason"], "HTTP status 307", "{line}");
    service.signal("TERM");
    assert!(service.wait().await.success());
    assert!(other.spans().is_empty() && first.spans().is_empty());
}

/// A warning is a line of the log, and names the variable.
#[tokio::test]
async fn questionable_settings_are_logged() {
    let settings = [
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("BCRYPT_COTS", "12"),
        ("HOST", "0.0.0.0"),
    ];
    let mut service = Service::start_with(Sqlite, &settings).await;
    let host = "listening beyond loopback: reads need no token, so untrusted clients must not reach this address";
    assert_eq!(service.wait_for_line(host).await["host"], "0.0.0.0");
    let mistyped = "this variable is not a setting; did you mean BCRYPT_COST?";
    assert_eq!(
        service.wait_for_line(mistyped).await["setting"],
        "BCRYPT_COTS"
    );
    let named = |line: &Value| line["setting"] == "OTEL_TRACES_SAMPLER";
    assert!(
        service.log_lines().iter().any(named),
        "{}",
        service.log_text()
    );
}

fn secret_of(folder: &Path) -> PathBuf {
    folder.join("signup.db.idempotency-secret")
}

fn mode(path: &Path) -> u32 {
    let metadata = std::fs::metadata(path).expect("it exists");
    metadata.permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("set");
}

/// The settings of a service that keeps its own secret.
const OWN_SECRET: &[(&str, &str)] = &[("IDEMPOTENCY_SECRET", "")];

#[tokio::test]
async fn a_secret_is_generated_once_and_only_for_its_owner() {
    let database = Arc::new(Database::new(Sqlite));
    let Database::Sqlite(folder) = &*database else {
        unreachable!("just made")
    };
    let path = secret_of(folder.path());
    // Symbolic links that an attacker has placed where a temporary file might be created.
    let victim = folder.path().join("victim");
    std::fs::write(&victim, "untouched").expect("written");
    for id in 1..200 {
        let _ = symlink(&victim, format!("{}.{id}", path.display()));
    }
    let mut service = Service::start_on(Arc::clone(&database), OWN_SECRET).await;
    let secret = std::fs::read_to_string(&path).expect("a secret");
    assert_eq!((secret.len(), mode(&path)), (64, 0o600));
    assert_eq!(
        std::fs::read_to_string(&victim).expect("there"),
        "untouched"
    );
    assert!(!service.log_text().contains(&secret));
    service.signal("TERM");
    service.wait().await;
    let _service = Service::start_on(Arc::clone(&database), OWN_SECRET).await;
    assert_eq!(std::fs::read_to_string(&path).expect("a secret"), secret);
}

#[rstest]
#[case::world_readable(0o604)]
#[case::world_writable(0o602)]
fn a_world_accessible_secret_is_refused(#[case] open: u32) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = secret_of(folder.path());
    std::fs::write(&path, "s".repeat(64)).expect("written");
    set_mode(&path, open);
    let url = format!("sqlite://{}/signup.db", folder.path().display());
    let output = run(
        &[],
        &[("DATABASE_URL", &url), ("PORT", "0"), ("BCRYPT_COST", "4")],
    );
    let text = refusal(&output, 1);
    assert!(
        text.contains(&format!("chmod 600 {}", path.display())),
        "{text}"
    );
    assert!(!text.contains("ssss"), "{text}");
}

#[tokio::test]
async fn files_accessible_to_others_cause_a_warning() {
    let database = Arc::new(Database::new(Sqlite));
    let Database::Sqlite(folder) = &*database else {
        unreachable!("just made")
    };
    let (path, file) = (secret_of(folder.path()), folder.path().join("signup.db"));
    std::fs::write(&path, "s".repeat(64)).expect("written");
    std::fs::write(&file, "").expect("written");
    set_mode(&path, 0o640);
    set_mode(&file, 0o644);
    set_mode(folder.path(), 0o777);
    let mut service = Service::start_on(Arc::clone(&database), OWN_SECRET).await;
    for what in [
        "secret file accessible to its group",
        "database files accessible to other users",
        "database folder writable by other users",
    ] {
        service.wait_for_line(what).await;
    }
    set_mode(folder.path(), 0o700);
}

/// A memory dump would contain passwords and secrets. The process metrics still work.
#[tokio::test]
async fn the_memory_is_not_dumped_or_readable() {
    let service = Service::start(Sqlite).await;
    let of_process = |file: &str| format!("/proc/{}/{file}", service.id());
    let limits = std::fs::read_to_string(of_process("limits")).expect("procfs is readable");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let figures: Vec<&str> = line.expect("a limit").split_whitespace().skip(4).collect();
    assert_eq!(figures, ["0", "0", "bytes"]);
    // Whichever user runs the tests: files that the same user can't read belong to root.
    let environment = std::fs::metadata(of_process("environ")).expect("procfs is readable");
    assert_eq!(environment.uid(), 0);
    let metrics = service.get("/metrics").await.text().await.expect("text");
    for name in [
        "process_open_fds ",
        "process_max_fds ",
        "process_resident_memory_bytes ",
    ] {
        let mut lines = metrics.lines();
        let value = lines.find_map(|line| line.strip_prefix(name));
        let value: f64 = value.expect(name).parse().expect("a number");
        assert!(value > 0.0, "{name}");
    }
}

#[test]
fn a_port_in_use_is_reported_with_an_alternative() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}/signup.db", folder.path().display());
    let output = run(
        &["--port", &port.to_string()],
        &[("DATABASE_URL", &url), ("BCRYPT_COST", "4")],
    );
    let text = refusal(&output, 1);
    assert!(text.contains("PORT=0"), "{text}");
}

/// The example printed for new users works, also at the second start.
#[tokio::test]
async fn each_start_proposes_another_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}/signup.db", folder.path().display());
    let mut proposals = Vec::new();
    for _ in 0..2 {
        let mut service = Command::new(env!("CARGO_BIN_EXE_signup-service"))
            .args(["--port", "0", "--host", "0.0.0.0"])
            .env_clear()
            .envs(counters())
            .env("DATABASE_URL", &url)
            .env("BCRYPT_COST", "4")
            .env("LOG_FORMAT", "pretty")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stderr = service.stderr.take().expect("piped");
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let line = lines.find_map(|line| Some(line.trim().strip_prefix("try:")?.to_owned()));
        let line = line.expect("a proposal");
        let url = line.split(' ').find(|word| word.starts_with("http://"));
        let body = line.split('\'').rfind(|text| text.starts_with('{'));
        let request = reqwest::Client::new()
            .post(url.expect("a URL"))
            .header("Content-Type", "application/json")
            .body(body.expect("a body").to_owned());
        let status = request
            .send()
            .await
            .map(|response| response.status().as_u16());
        service.kill().expect("it runs");
        service.wait().expect("it ends");
        assert_eq!(status.expect("a response"), 201, "{line}");
        proposals.push(body.map(str::to_owned));
    }
    assert_ne!(proposals[0], proposals[1]);
}
