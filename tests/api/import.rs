//! Accounts of other services: imports, logins with their password hashes, and exports.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rstest::rstest;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Database, Output, Service, problem, run,
    run_with_input, start_command,
};

/// How long anything may take.
const LIMIT: Duration = Duration::from_mins(1);

const MIB: u64 = 1024 * 1024;

const UNLIMITED: [(&str, &str); 2] = [("RATE_LIMIT_LOGIN", "off"), ("READS", "open")];

/// 80 bytes, of which bcrypt reads 72; and their hash by passlib, as in `src/hashing/stored/vectors.json`.
const LONG: &str =
    "01234567890123456789012345678901234567890123456789012345678901234567890123456789";
const LONG_HASH: &str = "$2a$05$hGGb1zNNQo1qc0CqC93qQeEghwfOhH.NJVm3i2ifJGYS0HCxwp9c.";

/// A database that is migrated, and imports into it.
struct Import {
    database: Arc<Database>,
    url: String,
}

impl Import {
    fn new(backend: Backend) -> Self {
        let database = Arc::new(Database::new(backend));
        let url = database.url();
        let import = Self { database, url };
        assert!(import.run(&["migrate"]).status.success());
        import
    }

    fn settings(&self) -> [(&str, &str); 1] {
        [("DATABASE_URL", self.url.as_str())]
    }

    fn run(&self, arguments: &[&str]) -> Output {
        run(arguments, &self.settings())
    }

    /// Imports lines by their file, and returns the summary.
    fn import(&self, lines: &[Value], more: &[&str]) -> (Value, Output) {
        let file = file(lines);
        let path = file.path().to_str().expect("UTF-8");
        let arguments = [&["users", "import", path, "--json"], more].concat();
        let output = self.run(&arguments);
        let summary = serde_json::from_str(&output.stdout);
        (summary.unwrap_or_else(|_| panic!("{output:?}")), output)
    }

    async fn serve(&self) -> Service {
        Service::start_on(Arc::clone(&self.database), &UNLIMITED).await
    }

    async fn count(&self, of: &str) -> String {
        let rows = self
            .database
            .rows(&format!("SELECT count(*) FROM {of}"))
            .await;
        rows.into_iter().next().expect("a row")
    }
}

fn file(lines: &[Value]) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    for line in lines {
        // A text stands for a line that is not made of JSON.
        match line {
            Value::String(text) => writeln!(file, "{text}"),
            json => writeln!(file, "{json}"),
        }
        .expect("written");
    }
    file
}

fn line(email: &str, hash: &str) -> Value {
    json!({ "email": email, "name": "Ada", "email_verified": true, "password_hash": hash })
}

async fn log_in(service: &Service, email: &str, password: &str) -> u16 {
    let body = json!({ "email": email, "password": password });
    let response = service.post("/auth/login", &body).send().await;
    response.expect("a response").status().as_u16()
}

/// Waits until the hash of an address is one of the service's own.
async fn renewed(service: &Service, email: &str) {
    let query = format!("SELECT password_hash FROM users WHERE email_canonical = '{email}'");
    let begun = Instant::now();
    loop {
        let rows = service.database.rows(&query).await;
        if rows[0].starts_with("$bcrypt-sha256$v=2,t=2b,r=") {
            return;
        }
        assert!(begun.elapsed() < LIMIT, "{email}: {rows:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Guarantee S9.
#[rstest]
#[tokio::test]
async fn every_format_logs_in_and_is_hashed_again(#[values(Sqlite, Postgres)] backend: Backend) {
    let text = include_str!("../../src/hashing/stored/vectors.json");
    let file: Value = serde_json::from_str(text).expect("the file of the script");
    let mut sources = BTreeSet::new();
    let vectors = file["vectors"].as_array().expect("a list");
    let vectors: Vec<&Value> = vectors
        .iter()
        .filter(|vector| sources.insert(vector["source"].as_str().expect("a text")))
        .collect();
    assert!(vectors.len() > 25, "{}", vectors.len());
    let text = |number: usize, field: &str| vectors[number][field].as_str().expect("a text");
    let email = |number: usize| format!("user{number}@example.org");
    let lines: Vec<Value> = (0..vectors.len())
        .map(|number| line(&email(number), text(number, "hash")))
        .collect();
    let import = Import::new(backend);
    let (summary, output) = import.import(&lines, &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(summary["imported"], vectors.len());

    let service = import.serve().await;
    for number in 0..vectors.len() {
        let (email, source) = (email(number), text(number, "source"));
        assert_eq!(
            log_in(&service, &email, text(number, "wrong")).await,
            401,
            "{source}"
        );
        let right = text(number, "password");
        assert_eq!(log_in(&service, &email, right).await, 200, "{source}");
        renewed(&service, &email).await;
        assert_eq!(
            log_in(&service, &email, right).await,
            200,
            "{source}, again"
        );
        assert_eq!(
            log_in(&service, &email, text(number, "wrong")).await,
            401,
            "{source}"
        );
    }
}

/// Guarantee S9.
#[rstest]
#[tokio::test]
async fn after_its_first_login_every_byte_of_a_long_password_counts(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let import = Import::new(backend);
    let (_, output) = import.import(&[line("ada@example.org", LONG_HASH)], &[]);
    assert!(output.status.success(), "{output:?}");
    let service = import.serve().await;
    assert_eq!(log_in(&service, "ada@example.org", &LONG[..71]).await, 401);
    assert_eq!(log_in(&service, "ada@example.org", LONG).await, 200);
    renewed(&service, "ada@example.org").await;
    assert_eq!(log_in(&service, "ada@example.org", &LONG[..79]).await, 401);
    assert_eq!(log_in(&service, "ada@example.org", &LONG[..72]).await, 401);
    assert_eq!(log_in(&service, "ada@example.org", LONG).await, 200);
}

#[rstest]
#[tokio::test]
async fn an_account_is_imported_as_it_is_described(#[values(Sqlite, Postgres)] backend: Backend) {
    let import = Import::new(backend);
    let password = "correct horse battery staple";
    let hash = "$2a$05$vw830mV7jjqvu4JAtvnODe2z6lU.fi2m2EHt0tXd5Ao9pqWlyPJu2";
    let lines = [
        json!({
            "email": "Ada@Example.org", "name": "Ada Lovelace", "display_name": "Countess",
            "email_verified": true, "created_at": "1843-10-18T12:00:00Z", "password_hash": hash,
        }),
        json!({
            "email": "Ada@Example.org", "name": "Ada Lovelace", "display_name": "Countess",
            "email_verified": true, "created_at": "2001-02-03T04:05:06.789Z", "password_hash": hash,
            "roles": ["support"], "import_id": "17", "locale": "de-at",
        }),
        json!({ "email": "b@example.org", "name": "Bob", "email_verified": false, "password_hash": hash }),
        json!({ "email": "c@example.org", "name": "Cy", "email_verified": true, "status": "suspended",
            "password_hash": hash }),
        json!({ "email": "d@example.org", "name": "Di", "email_verified": true }),
        Value::String(String::new()),
    ];
    let report = NamedTempFile::new().expect("a file");
    let path = report.path().to_str().expect("UTF-8");
    let (summary, output) = import.import(&lines, &["--dry-run", "--refused", path]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        (&summary["imported"], &summary["refused"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(import.database.counts().await, [0, 0, 0]);
    assert_eq!(import.count("imports").await, "0");

    let (summary, output) = import.import(&lines, &["--allow-roles", "--refused", path]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        (&summary["imported"], &summary["refused"]),
        (&json!(4), &json!(1))
    );
    assert_eq!(summary["dry_run"], false);
    let refused = std::fs::read_to_string(report.path()).expect("the report");
    assert_eq!(
        refused,
        "{\"code\":\"invalid\",\"field\":\"created_at\",\"line\":1}\n"
    );
    for nothing in ["mail_queue", "one_time_tokens", "idempotency_records"] {
        assert_eq!(import.count(nothing).await, "0", "{nothing}");
    }

    let settings = [
        UNLIMITED[0],
        UNLIMITED[1],
        ("EMAIL_VERIFICATION", "required"),
    ];
    let mail = tempfile::tempdir().expect("a folder");
    let url = format!("file:{}", mail.path().display());
    let settings = [&settings[..], &[("MAIL_URL", url.as_str())]].concat();
    let service = Service::start_on(Arc::clone(&import.database), &settings).await;
    let user = service.get("/users?email=ada@example.org").await;
    let user: Value = user.json().await.expect("JSON");
    let user = &user["users"][0];
    assert_eq!(user["display_name"], "Countess", "{user}");
    assert_eq!(user["created_at"], "2001-02-03T04:05:06.789000Z");
    assert_eq!(log_in(&service, "ada@example.org", password).await, 200);
    let body = |email: &str| json!({ "email": email, "password": password });
    for (email, status, slug) in [
        ("b@example.org", 403, "email-not-verified"),
        ("c@example.org", 403, "account-suspended"),
        ("d@example.org", 401, "invalid-credentials"),
    ] {
        let response = service.post("/auth/login", &body(email)).send().await;
        problem(response.expect("a response"), status, slug).await;
    }

    // An export can be imported elsewhere.
    let exported = import.run(&["users", "export-all", "--with-hashes"]);
    assert!(exported.status.success(), "{exported:?}");
    assert_eq!(exported.stdout.lines().count(), 4);
    assert!(exported.stdout.contains(r#""locale":"de-AT""#));
    let other = Import::new(backend);
    let read = ["users", "import", "-", "--import-id", "a", "--allow-roles"];
    let output = run_with_input(&read, &other.settings(), &exported.stdout);
    assert!(output.status.success(), "{output:?}");
    let again = other.run(&["users", "export-all", "--with-hashes"]);
    let without_ids = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().map(|line| {
            let mut line: Value = serde_json::from_str(line).expect("JSON");
            line["import_id"].take();
            line.to_string()
        });
        lines.collect()
    };
    assert_eq!(without_ids(&again.stdout), without_ids(&exported.stdout));
    let plain = other.run(&["users", "export-all"]);
    assert!(!plain.stdout.contains("password_hash"), "{plain:?}");
}

/// Guarantee S10.
#[rstest]
#[tokio::test]
async fn hostile_lines_are_refused_and_cost_no_thread(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let import = Import::new(backend);
    let salt = "AAECAwQFBgcICQoLDA0ODw";
    let hash = format!("{salt}${salt}");
    let hostile = [
        format!("$argon2id$v=19$m=4294967296,t=1,p=1${hash}"),
        format!("$argon2id$v=19$m=4294967295,t=4294967295,p=4294967295${hash}"),
        format!("$argon2id$v=19$m=64,t=1,p=1$*{hash}"),
        format!("$scrypt$ln=63,r=8,p=1${hash}"),
        format!("$pbkdf2-sha256$4294967295${hash}"),
        format!("$fbscrypt$v=1,n=40,r=8,p=1,ss=Bw,sk={salt}${hash}"),
        format!("$2b$31${}", &LONG_HASH[7..]),
        format!("bcrypt_sha256$$2b$31${}", &LONG_HASH[7..]),
        "5f4dcc3b5aa765d61d8327deb882cf99".to_owned(),
    ];
    let email = |number: usize| format!("user{number}@example.org");
    let mut lines: Vec<Value> = hostile
        .iter()
        .enumerate()
        .map(|(number, hash)| line(&email(number), hash))
        .collect();
    lines.push(Value::String("x".repeat(10 * 1024 * 1024)));
    lines.push(Value::String("[".repeat(60_000)));
    lines.push(line("ada@example.org", LONG_HASH));
    let (summary, output) = import.import(&lines, &[]);
    assert_eq!(summary["imported"], 1, "{output:?}");
    assert_eq!(summary["refused"], 11);
    assert_eq!(output.stderr.lines().count(), 12, "{output:?}");
    for named in [
        "line 1: password_hash: out_of_bounds",
        "line 10: line: too_long",
    ] {
        assert!(output.stderr.contains(named), "{output:?}");
    }

    // Also not if they got into the table in another way.
    let service = import.serve().await;
    let before = service.peak_bytes();
    let sixteen = "'AAECAwQFBgcICQoLDA0ODw'";
    for (number, hash) in hostile.iter().enumerate() {
        let email = format!("other{number}@example.org");
        assert_eq!(service.sign_up(&email).await.status(), 201);
        let change = format!("UPDATE users SET password_hash = '{hash}' WHERE email = '{email}'");
        import.database.rows(&change).await;
        assert_eq!(log_in(&service, &email, sixteen).await, 401, "{hash}");
    }
    assert_eq!(log_in(&service, "ada@example.org", LONG).await, 200);
    assert_eq!(service.sign_up("last@example.org").await.status(), 201);
    // One of them asks for terabytes.
    let more = service.peak_bytes().saturating_sub(before) / MIB;
    assert!(more < 64, "{more} MiB");
}

/// Lines, some of which are refused.
fn many(count: usize) -> Vec<Value> {
    let lines = (0..count).map(|number| match number % 100 {
        7 => Value::String("{".to_owned()),
        8 => line("user0@example.org", LONG_HASH),
        9 => line(&format!("user{number}@example.org"), "$2b$31$x"),
        _ => line(&format!("user{number}@example.org"), LONG_HASH),
    });
    lines.collect()
}

/// Guarantee S11.
#[rstest]
#[tokio::test]
async fn an_import_that_is_killed_goes_on_and_repeats_nothing(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    const LINES: usize = 10_000;
    let import = Import::new(backend);
    let file = file(&many(LINES));
    let path = file.path().to_str().expect("UTF-8");
    let arguments = ["users", "import", path];
    let next_line = "SELECT CAST(next_line AS text) FROM imports";
    let mut kills = 0;
    for kill in 0..20 {
        let mut process = start_command(&arguments, &import.settings());
        let begun = Instant::now();
        // Some while it starts, the others at a random moment of a batch.
        let pause = Duration::from_millis(fastrand::u64(0..30));
        if kill % 4 != 0 {
            let before = import.database.rows(next_line).await;
            while import.database.rows(next_line).await == before {
                if process.try_wait().expect("a child").is_some() {
                    break;
                }
                assert!(begun.elapsed() < LIMIT, "no progress after {before:?}");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        tokio::time::sleep(pause).await;
        kills += usize::from(process.try_wait().expect("a child").is_none());
        let _ = process.kill();
        process.wait().expect("it ends");
        // An account that is erased between two runs must not come back.
        if kill == 10 {
            let erase = "DELETE FROM users WHERE email_canonical = 'user1@example.org'";
            import.database.rows(erase).await;
        }
    }
    assert!(kills > 5, "{kills}");
    let report = NamedTempFile::new().expect("a file");
    let refused = report.path().to_str().expect("UTF-8");
    let output = import.run(&["users", "import", path, "--json", "--refused", refused]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let summary: Value = serde_json::from_str(&output.stdout).expect("JSON");
    let expected = LINES / 100 * 97;
    assert_eq!(summary["imported"], expected, "{summary}");
    assert_eq!(summary["refused"], LINES / 100 * 3);
    let lines = std::fs::read_to_string(report.path()).expect("the report");
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let numbers: Vec<u64> = lines
        .iter()
        .filter_map(|line| line["line"].as_u64())
        .collect();
    let all: Vec<u64> = (0..u64::try_from(LINES / 100).expect("few"))
        .flat_map(|hundred| [8, 9, 10].map(|at| hundred * 100 + at))
        .collect();
    assert_eq!(numbers, all, "each refused line once");
    // One was erased.
    let expected = i64::try_from(expected).expect("few");
    assert_eq!(
        import.database.counts().await,
        [expected - 1, expected, expected]
    );

    // Once more, with nothing left to do; and with more lines at the end.
    let output = import.run(&["users", "import", path, "--json"]);
    let again: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(again["imported"], summary["imported"]);
    assert_eq!(again["resumed_at"], LINES + 1);
    assert_eq!(
        import.database.counts().await,
        [expected - 1, expected, expected]
    );
}

#[rstest]
#[tokio::test]
async fn an_import_goes_on_with_the_same_lines_only(#[values(Sqlite, Postgres)] backend: Backend) {
    let import = Import::new(backend);
    let read = |lines: &[Value]| {
        let text: Vec<String> = lines.iter().map(Value::to_string).collect();
        let arguments = ["users", "import", "-", "--import-id", "one", "--json"];
        run_with_input(&arguments, &import.settings(), &text.join("\n"))
    };
    let [a, b, c] = ["a", "b", "c"].map(|name| line(&format!("{name}@example.org"), LONG_HASH));
    assert!(read(std::slice::from_ref(&a)).status.success());
    for lines in [vec![b.clone()], vec![b.clone(), a.clone()], vec![]] {
        let output = read(&lines);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            output.stderr.contains("began with other lines"),
            "{output:?}"
        );
        assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    }
    let output = read(&[a, b, c]);
    assert!(output.status.success(), "{output:?}");
    let summary: Value = serde_json::from_str(&output.stdout).expect("JSON");
    let expected = json!({
        "import": "one", "dry_run": false, "resumed_at": 2, "imported": 3, "refused": 0,
    });
    assert_eq!(summary, expected);
    assert_eq!(import.database.counts().await, [3, 3, 3]);
}

#[rstest]
fn usage_is_checked(#[values(Sqlite)] backend: Backend) {
    let import = Import::new(backend);
    for (arguments, code, words) in [
        (&["-"][..], 2, "--import-id"),
        (&["-", "--import-id", "a b"], 2, "--import-id"),
        (&["-", "--import-id", ""], 2, "--import-id"),
        (&["/nowhere/at/all"], 1, "cannot read the file"),
        (
            &["/dev/null", "--refused", "/nowhere/at/all"],
            1,
            "cannot write the report",
        ),
    ] {
        let output = import.run(&[&["users", "import"], arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(output.stderr.contains(words), "{output:?}");
        assert_eq!(output.stderr.lines().count(), 1, "{output:?}");
    }
    let file = NamedTempFile::new().expect("a file");
    let path = file.path().to_str().expect("UTF-8");
    let output = import.run(&["users", "export-all", "--out", path]);
    assert_eq!(output.status.code(), Some(1), "it exists: {output:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("accounts");
    let path = path.to_str().expect("UTF-8");
    let output = import.run(&["users", "export-all", "--out", path]);
    assert!(output.status.success(), "{output:?}");
    let mode = std::fs::metadata(path).expect("the file").mode();
    assert_eq!(mode & 0o777, 0o600);
}
