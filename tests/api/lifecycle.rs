//! Startup, shutdown, and the grace period.

use std::time::Instant;

use rstest::rstest;

use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Database, Output, Service, counters, problem, run,
    signup_body,
};

/// On PostgreSQL it is checked before the server is contacted.
const SECRET: (&str, &str) = ("IDEMPOTENCY_SECRET", crate::harness::SECRET);

/// Asserts that a refusal to start is one line without a backtrace, with this exit code; returns the line.
fn one_line(output: &Output, code: i32) -> &str {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let text = output.stderr.trim_end();
    assert_eq!(text.lines().count(), 1, "{output:?}");
    assert!(text.starts_with("signup-service: "), "{output:?}");
    assert!(!text.contains("panicked"), "{output:?}");
    text
}

/// Guarantee O1.
#[rstest]
#[tokio::test]
async fn a_signal_lets_requests_in_flight_finish(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[values("TERM", "INT")] signal: &str,
) {
    // A hash of this cost takes long enough to be interrupted by the signal.
    let mut service = Service::start_with(backend, &[("BCRYPT_COST", "14")]).await;
    let body = signup_body("ada@example.org");
    let request = tokio::spawn(service.signup(&body).send());
    service.wait_for_in_flight(1).await;
    service.signal(signal);
    let response = request.await.expect("no panic").expect("a response");
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["connection"], "close");
    assert_eq!(service.wait().await.code(), Some(0));
    assert_eq!(service.database.counts().await, [1, 1, 1]);
    let messages: Vec<String> = service
        .log_lines()
        .iter()
        .map(|l| l["message"].to_string())
        .collect();
    assert_eq!(
        messages.last().map(String::as_str),
        Some("\"stopped\""),
        "{messages:?}"
    );
}

#[tokio::test]
async fn a_stopping_service_is_immediately_not_ready_and_still_serves() {
    let settings = [
        ("SHUTDOWN_DELAY_MS", "60000"),
        ("SHUTDOWN_GRACE_MS", "2000"),
    ];
    let mut service = Service::start_with(Sqlite, &settings).await;
    assert_eq!(service.get("/ready").await.status(), 200);
    service.signal("TERM");
    service
        .wait_for_line("shutting down, finishing requests in flight")
        .await;
    let body = problem(service.get("/ready").await, 503, "not-ready").await;
    assert_eq!(body["checks"]["running"]["status"], "failed");
    assert_eq!(service.get("/health").await.status(), 200);
    let signup = service.sign_up("ada@example.org").await;
    assert_eq!(signup.status(), 201);
    // After a second signal it does not wait for requests.
    let begun = Instant::now();
    service.signal("TERM");
    assert_eq!(service.wait().await.code(), Some(130));
    assert!(begun.elapsed().as_secs() < 5);
}

#[tokio::test]
async fn idle_connections_do_not_delay_shutdown() {
    let mut service = Service::start(Sqlite).await;
    let mut used = service.connect();
    used.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(used.response().expect("a response").status, 200);
    let _unused = service.connect();
    let mut half = service.connect();
    half.send("GET /health HTTP/1.1\r\nHost: ");
    let begun = Instant::now();
    service.signal("TERM");
    assert_eq!(service.wait().await.code(), Some(0));
    assert!(begun.elapsed().as_secs() < 8, "{:?}", begun.elapsed());
    assert!(
        !service.log_text().contains("requests in flight cut"),
        "{}",
        service.log_text()
    );
}

#[tokio::test]
async fn reads_in_flight_finish_whichever_thread_serves_them() {
    use sqlx::{Connection, Executor};
    let settings = [("HTTP_WORKERS", "2"), ("DATABASE_MAX_CONNECTIONS", "4")];
    let mut service = Service::start_with(Postgres, &settings).await;
    let url = service.database.url();
    let mut lock = sqlx::PgConnection::connect(&url).await.expect("connects");
    lock.execute("BEGIN; LOCK TABLE users_read")
        .await
        .expect("locked");
    let reads: Vec<_> = (0..3)
        .map(|_| tokio::spawn(service.client.get(service.url("/users")).send()))
        .collect();
    service.wait_for_in_flight(3).await;
    service.signal("TERM");
    service
        .wait_for_line("shutting down, finishing requests in flight")
        .await;
    // By now the idle threads are shutting down.
    let refused = async || std::net::TcpStream::connect(service.address).is_err();
    let begun = Instant::now();
    while !refused().await && begun.elapsed().as_secs() < 10 {
        tokio::task::yield_now().await;
    }
    lock.execute("ROLLBACK").await.expect("unlocked");
    for read in reads {
        let response = read.await.expect("no panic").expect("a response");
        assert_eq!(response.status(), 200);
    }
    assert_eq!(service.wait().await.code(), Some(0));
    assert!(!service.log_text().contains("not closed in time"));
}

#[tokio::test]
async fn probes_are_served_until_the_end() {
    use sqlx::{Connection, Executor};
    let mut service = Service::start_with(Postgres, &[("OPERATIONS_PORT", "0")]).await;
    let lines = service.log_lines();
    let ready = lines.iter().find(|line| line["operations"].is_string());
    let operations = ready.expect("it is ready")["operations"].clone();
    let operations = operations.as_str().expect("an address");
    let url = service.database.url();
    let mut lock = sqlx::PgConnection::connect(&url).await.expect("connects");
    lock.execute("BEGIN; LOCK TABLE users_read")
        .await
        .expect("locked");
    let read = tokio::spawn(service.client.get(service.url("/users")).send());
    let metrics = format!("http://{operations}/metrics");
    let begun = Instant::now();
    let mut figures = String::new();
    // The metrics request itself is in flight, too.
    while !figures.contains("\nhttp_requests_in_flight 2\n") {
        assert!(begun.elapsed().as_secs() < 10, "{figures}");
        let response = service.client.get(&metrics).send().await;
        figures = response.expect("a response").text().await.expect("text");
    }
    service.signal("TERM");
    let refused = async || std::net::TcpStream::connect(service.address).is_err();
    let begun = Instant::now();
    while !refused().await && begun.elapsed().as_secs() < 10 {
        tokio::task::yield_now().await;
    }
    // Each on a new connection, like a probe.
    for _ in 0..20 {
        let probe = reqwest::Client::new().get(format!("http://{operations}/health"));
        let response = probe.send().await.expect("a response");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["connection"], "close");
    }
    lock.execute("ROLLBACK").await.expect("unlocked");
    let response = read.await.expect("no panic").expect("a response");
    assert_eq!(response.status(), 200);
    assert_eq!(service.wait().await.code(), Some(0));
}

#[rstest]
#[tokio::test]
async fn a_signal_while_it_starts_stops_it(#[values(Sqlite, Postgres)] backend: Backend) {
    // Another process holds the migration lock.
    let database = std::sync::Arc::new(Database::new(backend));
    let _held = hold_migration_lock(&database).await;
    let mut service = Service::launch(database, &[]);
    service.wait_for_line("starting").await;
    service.signal("TERM");
    assert_eq!(service.wait().await.code(), Some(0));
    assert!(
        service.log_text().contains("stopped before ready"),
        "{}",
        service.log_text()
    );
}

async fn hold_migration_lock(database: &Database) -> Box<dyn std::any::Any> {
    use sqlx::migrate::Migrate;
    match database {
        Database::Sqlite(folder) => {
            let path = folder.path().join("signup.db.migrate-lock");
            let file = std::fs::File::create(path).expect("created");
            file.lock().expect("locked");
            Box::new(file)
        }
        Database::Postgres(_) => {
            use sqlx::Connection;
            let mut connection = sqlx::PgConnection::connect(&database.url())
                .await
                .expect("connects");
            connection.lock().await.expect("locked");
            Box::new(connection)
        }
    }
}

#[tokio::test]
async fn requests_that_outlast_the_grace_period_are_cut() {
    let settings = [
        ("BCRYPT_COST", "15"),
        ("SHUTDOWN_GRACE_MS", "300"),
        ("REQUEST_TIMEOUT_MS", "60000"),
    ];
    let mut service = Service::start_with(Sqlite, &settings).await;
    let body = signup_body("ada@example.org");
    let request = tokio::spawn(service.signup(&body).send());
    service.wait_for_in_flight(1).await;
    let begun = Instant::now();
    service.signal("TERM");
    assert!(
        request.await.expect("no panic").is_err(),
        "the connection was cut"
    );
    assert_eq!(service.wait().await.code(), Some(0));
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    assert_eq!(service.database.counts().await, [0, 0, 0]);
}

#[test]
fn without_settings_it_creates_its_database_and_prints_examples() {
    use std::io::BufRead;
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = std::process::Command::new(env!("CARGO_BIN_EXE_signup-service"))
        .env_clear()
        .envs(counters())
        // A free port, as the default may be in use; and a log format as on a terminal.
        .envs([("PORT", "0"), ("ADMIN_PORT", "0"), ("LOG_FORMAT", "pretty")])
        .current_dir(folder.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let stderr = std::io::BufReader::new(process.stderr.take().expect("piped"));
    let mut printed = String::new();
    for line in stderr.lines().map_while(Result::ok) {
        printed.push_str(&line);
        printed.push('\n');
        if line.contains("stop:") {
            break;
        }
    }
    assert!(folder.path().join("data/signup.db").is_file());
    process.kill().expect("it runs");
    process.wait().expect("it ends");
    let address = printed
        .split("http://")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    let address = address.expect("the address");
    assert!(
        printed.contains(&format!("http://{address}/docs")),
        "{printed}"
    );
    assert!(
        printed.contains(&format!("curl -i http://{address}/signup")),
        "{printed}"
    );
    // Where links in mails lead.
    assert!(
        printed.contains("pages: http://localhost:8000/\n"),
        "{printed}"
    );
}

#[tokio::test]
async fn a_port_in_use_is_a_one_line_error() {
    let service = Service::start(Sqlite).await;
    let database = Database::new(Sqlite);
    let port = service.address.port().to_string();
    let output = run(&[], &[("PORT", &port), ("DATABASE_URL", &database.url())]);
    let line = one_line(&output, 1);
    assert!(
        line.contains(&format!("cannot listen on 127.0.0.1:{port}")),
        "{line}"
    );
}

#[tokio::test]
async fn links_of_mails_that_lead_to_another_port_are_warned_of() {
    let service = Service::start(Sqlite).await;
    let database = Database::new(Sqlite);
    let port = service.address.port().to_string();
    let url = format!("http://localhost:{port}");
    for (more, warns) in [(None, true), (Some(("PUBLIC_URL", &*url)), false)] {
        let mut settings = vec![("PORT", &*port), ("RUST_LOG", "warn")];
        let database = database.url();
        settings.push(("DATABASE_URL", &*database));
        settings.extend(more);
        // The port is in use: it ends by itself.
        let output = run(&[], &settings);
        let warned = output
            .stdout
            .contains("PUBLIC_URL names another port than PORT");
        assert_eq!(warned, warns, "{output:?}");
    }
}

/// Guarantee O2.
#[tokio::test]
async fn an_unreachable_database_is_a_one_line_error_without_the_password() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let url = format!("postgres://ada:hunter2@127.0.0.1:{port}/signup");
    for arguments in [&["serve"][..], &["migrate"], &["migrate", "status"]] {
        let settings = [("DATABASE_URL", &*url), ("PORT", "0"), SECRET];
        let output = run(arguments, &settings);
        let line = one_line(&output, 1);
        assert!(line.contains(&format!("127.0.0.1:{port}")), "{line}");
        assert!(!format!("{output:?}").contains("hunter2"), "{output:?}");
    }
}

#[tokio::test]
async fn a_sqlite_file_that_cannot_be_created_is_a_one_line_error() {
    let output = run(
        &[],
        &[
            ("DATABASE_URL", "sqlite:///proc/nowhere/signup.db"),
            ("PORT", "0"),
        ],
    );
    let line = one_line(&output, 1);
    assert!(line.contains("/proc/nowhere"), "{line}");
}

/// Guarantee O2.
#[tokio::test]
async fn all_invalid_settings_are_reported_at_once() {
    let output = run(
        &[],
        &[
            ("PORT", "x"),
            ("BCRYPT_COST", "3"),
            ("DATABASE_URL", "mysql://u:hunter2@h/d"),
        ],
    );
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    for part in [
        "3 settings are invalid",
        "PORT is \"x\"",
        "BCRYPT_COST is \"3\"",
        "DATABASE_URL must",
    ] {
        assert!(output.stderr.contains(part), "{output:?}");
    }
    assert!(!format!("{output:?}").contains("hunter2"), "{output:?}");
    let output = run(&[], &[("PORT", "x")]);
    one_line(&output, 2);
}

/// Guarantee O3.
#[tokio::test]
async fn a_postgresql_that_is_not_migrated_is_refused() {
    let database = Database::new(Postgres);
    let url = database.url();
    let output = run(&[], &[("DATABASE_URL", &*url), ("PORT", "0"), SECRET]);
    let line = one_line(&output, 1);
    assert!(
        line.contains("pending") && line.contains("signup-service migrate"),
        "{line}"
    );
}

/// Guarantee O3.
#[tokio::test]
async fn asynchronous_commit_is_refused_unless_allowed() {
    let database = Database::new(Postgres);
    let Database::Postgres(postgres) = &database else {
        unreachable!("just made");
    };
    let alter = format!(
        "ALTER DATABASE {} SET synchronous_commit = off",
        postgres.name()
    );
    database.execute(&alter).await.expect("altered");
    let url = database.url();
    let output = run(
        &[],
        &[
            ("DATABASE_URL", &url),
            ("PORT", "0"),
            ("DATABASE_MIGRATE", "true"),
            SECRET,
        ],
    );
    let line = one_line(&output, 1);
    assert!(line.contains("synchronous_commit=off"), "{line}");
    let accept = [("DATABASE_ALLOW_ASYNC_COMMIT", "true")];
    let service = Service::start_on(std::sync::Arc::new(database), &accept).await;
    assert_eq!(service.get("/ready").await.status(), 200);
}

/// Guarantee A2.
#[tokio::test]
async fn a_restart_keeps_the_data_and_the_port() {
    let mut service = Service::start(Sqlite).await;
    let signup = service.sign_up("ada@example.org").await;
    let location = signup.headers()["location"]
        .to_str()
        .expect("ASCII")
        .to_owned();
    let user = signup.text().await.expect("text");
    service.signal("KILL");
    service.wait().await;
    let port = service.address.port().to_string();
    let again =
        Service::start_on(std::sync::Arc::clone(&service.database), &[("PORT", &port)]).await;
    assert_eq!(again.get(&location).await.text().await.expect("text"), user);
}
