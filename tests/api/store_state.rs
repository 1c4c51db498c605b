//! Faults of the database: at startup they are a one-line error, and later `/ready` reports them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rstest::rstest;
use serde_json::Value;
use throwaway_servers::pgbouncer::{Mode, Pooler};

use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Database, Output, Service, problem, run,
    signup_body,
};

/// Asserts that a start with these settings fails with one line, and returns the line.
fn refused(settings: &[(&str, &str)]) -> String {
    let mut all = vec![
        ("PORT", "0"),
        ("BCRYPT_COST", "4"),
        ("IDEMPOTENCY_SECRET", "a secret of thirty-two bytes or more"),
    ];
    all.extend(settings);
    let Output { status, stderr, .. } = run(&["serve"], &all);
    assert!(!status.success(), "{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{stderr}");
    assert!(
        !stderr.contains("at line") && !stderr.contains("hunter2"),
        "{stderr}"
    );
    lines[0].to_owned()
}

#[tokio::test]
async fn postgresql_errors_at_start_name_the_remedy() {
    let database = Database::new(Postgres);
    let Database::Postgres(postgres) = &database else {
        unreachable!("just made");
    };
    let url = database.url();
    let role = format!("outside_{}", postgres.name());
    let _ = postgres.sql(&format!("CREATE ROLE {role} NOLOGIN"));
    let limited = format!("none_{}", postgres.name());
    let _ = postgres.sql(&format!("CREATE ROLE {limited} LOGIN CONNECTION LIMIT 0"));
    let as_role = |role: &str| url.replace("//postgres@", &format!("//{role}:hunter2@"));
    for (url, expected) in [
        (as_role("no_such_role"), &["createuser", "no_such_role"][..]),
        (as_role(&role), &["may not log in"]),
        (as_role(&limited), &["no free connection"]),
        (format!("{url}_missing"), &["no such database", "createdb"]),
    ] {
        let line = refused(&[("DATABASE_URL", &url)]);
        for words in expected {
            assert!(line.contains(words), "{words}: {line}");
        }
        assert!(!line.contains("cannot reach"), "it was reached: {line}");
    }
    let line = refused(&[("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x")]);
    assert!(
        line.contains("cannot reach PostgreSQL at 127.0.0.1:1"),
        "{line}"
    );
    // The secret is checked before the server is contacted.
    let line = refused(&[
        ("DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/x"),
        ("IDEMPOTENCY_SECRET", ""),
    ]);
    assert!(line.contains("IDEMPOTENCY_SECRET must be set"), "{line}");
}

#[tokio::test]
async fn a_wrong_password_is_distinguished_from_an_unreachable_server() {
    let server = throwaway_servers::postgres::Server::start().expect("PostgreSQL starts");
    let server: &'static throwaway_servers::postgres::Server = Box::leak(Box::new(server));
    server.sql("postgres", "CREATE ROLE ada LOGIN PASSWORD 'right'");
    let file = server.sql("postgres", "SHOW hba_file");
    server.sql(
        "postgres",
        &format!(
            "COPY (VALUES ('host all postgres 127.0.0.1/32 trust'), \
             ('host all all 127.0.0.1/32 scram-sha-256')) TO '{file}'; SELECT pg_reload_conf()"
        ),
    );
    let url = server
        .url("postgres")
        .replace("//postgres@", "//ada:hunter2@");
    let mut line = refused(&[("DATABASE_URL", &url)]);
    // The server applies its new rules a moment later.
    while !line.contains("refuses the password of the role ada") {
        assert!(line.contains("migration"), "{line}");
        line = refused(&[("DATABASE_URL", &url)]);
    }
    assert!(line.contains("createuser --pwprompt ada"), "{line}");
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_name_is_refused() {
    let server = throwaway_servers::postgres::server();
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let name = format!("encoded_{}", encoding.to_lowercase());
        server.sql(
            "postgres",
            &format!(
                "CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' \
                 TEMPLATE template0"
            ),
        );
        let url = server.url(&name);
        let migrate = ("DATABASE_MIGRATE", "true");
        let line = refused(&[("DATABASE_URL", &url), migrate]);
        assert!(line.contains(&format!("encoded as {encoding}")), "{line}");
        let good = Database::new(Postgres);
        let line = refused(&[
            ("DATABASE_URL", &good.url()),
            ("DATABASE_READ_URL", &url),
            migrate,
        ]);
        assert!(line.contains(&format!("encoded as {encoding}")), "{line}");
    }
}

#[tokio::test]
async fn replacement_by_a_database_of_another_encoding_is_detected() {
    let server = throwaway_servers::postgres::Server::start().expect("PostgreSQL starts");
    let server: &'static throwaway_servers::postgres::Server = Box::leak(Box::new(server));
    let database = server.database();
    let name = database.name().to_owned();
    let database = Arc::new(Database::Postgres(database));
    let service = Service::start_on(Arc::clone(&database), &[]).await;
    service.wait_for_ready(200).await;
    server.sql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
    server.sql(
        "postgres",
        &format!(
            "CREATE DATABASE {name} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        ),
    );
    let detail = async || {
        let body: Value = service.get("/ready").await.json().await.expect("JSON");
        body["checks"]["database"]["detail"].to_string()
    };
    while detail().await != "\"not encoded as UTF8\"" {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn libpq_socket_urls_are_accepted() {
    let database = Arc::new(Database::new(Postgres));
    let Database::Postgres(postgres) = &*database else {
        unreachable!("just made");
    };
    let folder = postgres.sql("SHOW unix_socket_directories");
    let port = postgres.sql("SHOW port");
    let name = postgres.name();
    let url = format!("postgresql:///{name}?host={folder}&port={port}&user=postgres");
    let service = Service::start_on(Arc::clone(&database), &[("DATABASE_URL", &url)]).await;
    assert_eq!(service.sign_up("ada@example.org").await.status(), 201);
    assert_eq!(
        service.get("/users?email=ada@example.org").await.status(),
        200
    );
}

#[rstest]
#[case::passwords("DATABASE_URL", "postgres://u@h/db?sslpassword=hunter2", "sslpassword")]
#[case::misspelt("DATABASE_URL", "postgres://u@h/db?passwrod=hunter2", "passwrod")]
#[case::of_the_replica("DATABASE_READ_URL", "postgres://u@h/db?ssl=hunter2", "ssl,")]
#[case::of_redis("REDIS_URL", "redis://127.0.0.1:1/0?passwd=hunter2", "passwd")]
#[case::shared("DATABASE_URL", "sqlite://hunter2.db?cache=shared", "cache")]
#[case::prefixed("DATABASE_URL", "sqlite://file:hunter2.db", "file:")]
fn unknown_url_parameters_are_refused(
    #[case] setting: &str,
    #[case] url: &str,
    #[case] named: &str,
) {
    let main = ("DATABASE_URL", "postgres://u@127.0.0.1:1/db");
    let line = refused(&[main, (setting, url)]);
    assert!(line.contains(setting) && line.contains(named), "{line}");
}

#[test]
fn a_line_of_the_password_file_is_not_repeated() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("pgpass");
    fs::write(&file, "127.0.0.1:hunter2\n").expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("private");
    let file = file.display().to_string();
    for filter in ["info", "trace", "sqlx_postgres::options::pgpass=warn"] {
        let settings = [
            ("DATABASE_URL", "postgres://u@127.0.0.1:1/db"),
            ("IDEMPOTENCY_SECRET", "a secret of thirty-two bytes or more"),
            ("PGPASSFILE", &file),
            ("RUST_LOG", filter),
        ];
        let Output { stdout, stderr, .. } = run(&["serve"], &settings);
        assert!(
            !stdout.contains("hunter2") && !stderr.contains("hunter2"),
            "{stdout}{stderr}"
        );
    }
}

/// A way to lose the files of a database.
#[derive(Debug, Clone, Copy)]
enum Loss {
    File,
    Log,
    Replaced,
    Moved,
}

/// Guarantee O6.
#[rstest]
#[tokio::test]
async fn lost_sqlite_files_are_detected(
    #[values(Loss::File, Loss::Log, Loss::Replaced, Loss::Moved)] loss: Loss,
) {
    let service = Service::start(Sqlite).await;
    assert_eq!(service.sign_up("ada@example.org").await.status(), 201);
    service.wait_for_ready(200).await;
    let Database::Sqlite(folder) = &*service.database else {
        unreachable!("just made");
    };
    let file = folder.path().join("signup.db");
    let beside = |name: &str| folder.path().join(name);
    match loss {
        Loss::File => fs::remove_file(&file).expect("removed"),
        Loss::Log => fs::remove_file(beside("signup.db-wal")).expect("removed"),
        Loss::Replaced => {
            fs::copy(&file, beside("copy")).expect("copied");
            fs::rename(beside("copy"), &file).expect("replaced");
        }
        Loss::Moved => fs::rename(&file, beside("old")).expect("moved"),
    }
    service.wait_for_ready(503).await;
    let body = problem(service.get("/ready").await, 503, "not-ready").await;
    let detail = body["checks"]["database"]["detail"].as_str().expect("why");
    let expected = if matches!(loss, Loss::Replaced) {
        "its files were replaced; restart the service"
    } else {
        "its files were removed; restart the service"
    };
    assert_eq!(detail, expected);
}

/// A small file system in memory, unmounted when dropped.
struct SmallDisk {
    folder: PathBuf,
    _place: tempfile::TempDir,
}

impl SmallDisk {
    /// Requires root, or `sudo` without a password, as on the machines of CI.
    fn mount() -> Self {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("disk");
        fs::create_dir(&folder).expect("made");
        let owner = {
            use std::os::unix::fs::MetadataExt;
            let made = fs::metadata(&folder).expect("just made");
            format!("size=3m,uid={},gid={}", made.uid(), made.gid())
        };
        let mounted = privileged("mount", &["-t", "tmpfs", "-o", &owner, "tmpfs"], &folder);
        assert!(
            mounted,
            "this test mounts a small file system: run it as root, or allow sudo without a password"
        );
        Self {
            folder,
            _place: place,
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        privileged("umount", &["--lazy"], &self.folder);
    }
}

fn privileged(program: &str, arguments: &[&str], folder: &Path) -> bool {
    let succeeds = |command: &mut Command| {
        let output = command.args(arguments).arg(folder).output();
        output.is_ok_and(|output| output.status.success())
    };
    succeeds(&mut Command::new(program))
        || succeeds(Command::new("sudo").args(["--non-interactive", program]))
}

/// Guarantee O6.
#[tokio::test]
async fn a_full_disk_of_any_kind_is_not_ready_until_there_is_room() {
    let disk = SmallDisk::mount();
    let url = format!("sqlite://{}", disk.folder.join("x.db").display());
    let database = Arc::new(Database::new(Sqlite));
    let service = Service::start_on(database, &[("DATABASE_URL", &url)]).await;
    service.wait_for_ready(200).await;
    assert_eq!(service.sign_up("ada@example.org").await.status(), 201);

    // As large as it gets.
    let filler = disk.folder.join("filler");
    fs::write(&filler, vec![1; 8 << 20]).expect_err("there is no room for it");
    service.wait_for_ready(503).await;
    // Space already allocated to the write-ahead log may hold some more.
    let mut number = 0;
    loop {
        number += 1;
        let response = service.sign_up(&format!("n{number}@example.org")).await;
        if response.status() == 503 {
            problem(response, 503, "unavailable").await;
            break;
        }
        assert_eq!(response.status(), 201);
        assert!(number < 1_000, "it is never full");
    }
    let body = problem(service.get("/ready").await, 503, "not-ready").await;
    assert_eq!(body["checks"]["disk"]["status"], "failed", "{body}");
    assert!(
        body["checks"]["disk"]["used_percent"].as_f64() > Some(95.0),
        "{body}"
    );

    fs::remove_file(&filler).expect("removed");
    service.wait_for_ready(200).await;
    assert_eq!(service.sign_up("eve@example.org").await.status(), 201);
}

#[rstest]
#[tokio::test]
async fn one_round_of_checks_serves_all_clients(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    // All requests are served, and signups at the same time.
    let crowd = async {
        for _ in 0..10 {
            let probes = (0..100).map(|_| service.get("/ready"));
            for response in futures_util::future::join_all(probes).await {
                assert_eq!(response.status(), 200);
            }
        }
    };
    let signups = async {
        for number in 0..40 {
            let response = service.signup(&signup_body(&format!("n{number}@example.org")));
            assert_eq!(response.send().await.expect("a response").status(), 201);
        }
    };
    tokio::join!(crowd, signups);
    // Equal figures mean that both are the same report.
    let (first, second) = tokio::join!(service.get("/ready"), service.get("/ready"));
    let first: Value = first.json().await.expect("JSON");
    assert_eq!(first, second.json::<Value>().await.expect("JSON"));
}

/// Guarantee P4.
#[tokio::test]
async fn the_granted_role_suffices_and_no_more_is_granted() {
    let database = Arc::new(Database::new(Postgres));
    let Database::Postgres(postgres) = &*database else {
        unreachable!("just made");
    };
    let migrated = run(&["migrate"], &[("DATABASE_URL", &database.url())]);
    assert!(migrated.status.success(), "{migrated:?}");
    let grants = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/postgres/grants.sql");
    let grants = fs::read_to_string(grants).expect("the grants");
    let grants = grants.replace("\\getenv password SIGNUP_PASSWORD", "\\set password x");
    // An older version granted more.
    let _ = postgres.sql(&grants);
    let _ = postgres.sql("GRANT SELECT ON users TO signup");
    let _ = postgres.sql(&grants);

    let url = database.url().replace("//postgres@", "//signup@");
    let settings = [
        ("DATABASE_URL", url.as_str()),
        ("DATABASE_MIGRATE", "false"),
        ("IDEMPOTENCY_TTL_SECONDS", "1"),
    ];
    let service = Service::start_on(Arc::clone(&database), &settings).await;
    let keyed = async |email: &str, key: &str| {
        let request = service
            .signup(&signup_body(email))
            .header("Idempotency-Key", key);
        request.send().await.expect("a response").status().as_u16()
    };
    assert_eq!(keyed("ada@example.org", "k").await, 201);
    assert_eq!(keyed("eve@example.org", "k").await, 422);
    assert_eq!(keyed("ada@example.org", "l").await, 409);
    assert_eq!(service.sign_up("bob@example.org").await.status(), 201);
    for path in ["/users", "/users?email=ada@example.org", "/ready"] {
        assert_eq!(service.get(path).await.status(), 200, "{path}");
    }
    let page: Value = service
        .get("/users?limit=1")
        .await
        .json()
        .await
        .expect("JSON");
    let cursor = page["next_cursor"].as_str().expect("two users");
    let id = page["users"][0]["id"].as_str().expect("an id");
    for path in [
        format!("/users?limit=1&cursor={cursor}"),
        format!("/users/{id}"),
    ] {
        assert_eq!(service.get(&path).await.status(), 200, "{path}");
    }
    // An expired record is reclaimed, and in the end all are removed.
    while keyed("ada@example.org", "k").await != 409 {
        tokio::task::yield_now().await;
    }
    let count = "SELECT count(*) FROM idempotency_records";
    while database.rows(count).await != ["0"] {
        tokio::task::yield_now().await;
    }

    let denied = [
        "SELECT name FROM users",
        "SELECT count(*) FROM users WHERE email LIKE '%'",
        "UPDATE users SET created_at = now()",
        "UPDATE users_read SET created_at = now()",
        "UPDATE user_events SET type = 'x'",
        "DELETE FROM user_events",
        "CREATE TEMPORARY TABLE x (y int)",
        "SELECT checksum FROM _sqlx_migrations",
    ];
    for statement in denied {
        let attempt = format!(
            "DO $$ BEGIN SET LOCAL ROLE signup; {}; RAISE EXCEPTION 'allowed'; \
             EXCEPTION WHEN insufficient_privilege THEN NULL; END $$",
            statement.replacen("SELECT", "PERFORM", 1)
        );
        let _ = postgres.sql(&attempt);
    }
    let others = postgres.sql(&format!(
        "SELECT has_database_privilege('pg_monitor', '{}', 'CONNECT')",
        postgres.name()
    ));
    assert_eq!(others, "f");
}

#[tokio::test]
async fn a_pooler_serves_in_session_mode_and_is_refused_in_transaction_mode() {
    let database = Arc::new(Database::new(Postgres));
    let Database::Postgres(postgres) = &*database else {
        unreachable!("just made");
    };
    let migrated = run(&["migrate"], &[("DATABASE_URL", &database.url())]);
    assert!(migrated.status.success(), "{migrated:?}");
    let server = throwaway_servers::postgres::server();

    let pooler = Pooler::start(server, Mode::Session).expect("PgBouncer starts");
    let url = pooler.url(postgres.name());
    let service = Service::start_on(Arc::clone(&database), &[("DATABASE_URL", &url)]).await;
    for number in 0..10 {
        let email = format!("n{number}@example.org");
        assert_eq!(service.sign_up(&email).await.status(), 201);
        assert_eq!(
            service.get(&format!("/users?email={email}")).await.status(),
            200
        );
    }
    assert_eq!(service.get("/ready").await.status(), 200);
    drop(service);

    let pooler = Pooler::start(server, Mode::Transaction).expect("PgBouncer starts");
    let url = pooler.url(postgres.name());
    let line = refused(&[("DATABASE_URL", &url)]);
    assert!(line.contains("transaction mode"), "{line}");
}
