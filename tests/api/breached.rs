//! Breached passwords: the file, and where it is asked.

use std::path::{Path, PathBuf};

use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Database, Mailing, Output, Service, problem, run,
    run_with_input, signup_body,
};

const FIRST: &str = "first horse battery staple";
const SECOND: &str = "second horse battery staple";

/// Makes a file of these passwords with the command, and returns its path.
fn make(folder: &Path, name: &str, passwords: &[&str]) -> PathBuf {
    let list = folder.join("list.txt");
    std::fs::write(&list, passwords.join("\n")).expect("written");
    let out = folder.join(name);
    let output = command(&["--from", text(&list), "--out", text(&out)]);
    assert!(output.status.success(), "{output:?}");
    out
}

fn command(arguments: &[&str]) -> Output {
    run(&[&["breached", "build"], arguments].concat(), &[])
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A service with a list, which the test replaces.
struct Listed {
    service: Service,
    folder: TempDir,
}

impl Listed {
    async fn start(backend: Backend, passwords: &[&str]) -> Self {
        Self::start_with(backend, passwords, "256").await
    }

    /// With so many MiB for a list in memory.
    async fn start_with(backend: Backend, passwords: &[&str], in_memory: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = make(folder.path(), "breached.bin", passwords);
        let settings = [
            ("BREACHED_PASSWORDS_FILE", text(&file)),
            ("BREACHED_PASSWORDS_MEMORY_MB", in_memory),
        ];
        let service = Service::start_with(backend, &settings).await;
        Self { service, folder }
    }

    /// Takes another list.
    async fn replace(&self, passwords: &[&str]) {
        make(self.folder.path(), "breached.bin", passwords);
        let line = format!("breached_list_passwords {}", passwords.len());
        self.service.wait_for_metric(&line).await;
    }

    async fn sign_up(&self, email: &str, password: &str) -> reqwest::Response {
        let mut body = signup_body(email);
        body["password"] = json!(password);
        let response = self.service.signup(&body).send().await;
        response.expect("a response")
    }

    async fn log_in(&self, email: &str, password: &str) -> Value {
        let body = json!({ "email": email, "password": password });
        let response = self.service.post("/auth/login", &body).send().await;
        let response = response.expect("a response");
        assert_eq!(response.status(), 200);
        response.json().await.expect("JSON")
    }

    async fn ready(&self) -> Value {
        let response = self.service.get("/ready").await;
        assert_eq!(response.status(), 200);
        let body: Value = response.json().await.expect("JSON");
        body["checks"]["breached_passwords"].clone()
    }
}

/// The broken rules of a refused signup.
async fn errors(response: reqwest::Response) -> Value {
    let mut body = problem(response, 422, "validation-failed").await;
    body["errors"].take()
}

#[rstest]
#[tokio::test]
async fn a_breached_password_is_refused_at_a_signup_and_reported_at_a_login(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[values("256", "0")] in_memory: &str,
) {
    let listed = Listed::start_with(backend, &[FIRST], in_memory).await;
    let lines = listed.service.log_lines();
    let read = lines
        .iter()
        .find(|line| line["message"] == "breached passwords read");
    let place = if in_memory == "0" { "disk" } else { "memory" };
    assert_eq!(read.expect("a line")["place"], place);
    let refused = errors(listed.sign_up("ada@example.org", FIRST).await).await;
    assert_eq!(refused[0]["pointer"], "/password");
    assert_eq!(refused[0]["code"], "breached");
    for email in ["ada@example.org", "eve@example.org"] {
        assert_eq!(listed.sign_up(email, SECOND).await.status(), 201);
    }
    let login = listed.log_in("ada@example.org", SECOND).await;
    assert_eq!(login.get("password_breached"), None);

    listed.replace(&[FIRST, SECOND]).await;
    // Whether the address is taken does not show.
    for email in ["ada@example.org", "free@example.org"] {
        assert_eq!(errors(listed.sign_up(email, SECOND).await).await, refused);
    }
    // Other letters are another password.
    let response = listed
        .sign_up("free@example.org", &SECOND.to_uppercase())
        .await;
    assert_eq!(response.status(), 201);
    for _ in 0..2 {
        let login = listed.log_in("ada@example.org", SECOND).await;
        assert_eq!(login["password_breached"], true);
        assert!(login["access_token"].is_string());
    }
    // Nor can it be chosen by a user.
    let token = listed.log_in("eve@example.org", SECOND).await;
    let body = json!({ "current_password": SECOND, "new_password": FIRST });
    let change = listed.service.post("/users/me/password", &body);
    let change = change.bearer_auth(token["access_token"].as_str().expect("a text"));
    let refused = errors(change.send().await.expect("a response")).await;
    assert_eq!(refused[0]["pointer"], "/new_password");
    assert_eq!(refused[0]["code"], "breached");
    // A wrong password is not looked up.
    let wrong = json!({ "email": "ada@example.org", "password": FIRST });
    let wrong = listed.service.post("/auth/login", &wrong).send().await;
    problem(wrong.expect("a response"), 401, "invalid-credentials").await;
    // Once for each user.
    let events = "SELECT type FROM user_events WHERE type = 'user.password_breached'";
    assert_eq!(listed.service.database.rows(events).await.len(), 2);
    for line in [
        "breached_passwords_total{of=\"new\"} 4",
        "breached_passwords_total{of=\"login\"} 3",
    ] {
        listed.service.wait_for_metric(line).await;
    }
    let log = listed.service.log_text();
    assert!(
        !log.contains("horse") && !log.contains("breached.bin"),
        "{log}"
    );
}

#[rstest]
#[tokio::test]
async fn a_breached_password_is_refused_at_a_reset_and_the_token_stays_good(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = make(folder.path(), "breached.bin", &[FIRST]);
    let mailing = Mailing::start_with(backend, &[("BREACHED_PASSWORDS_FILE", text(&file))]).await;
    let signed_up = mailing.service.sign_up("ada@example.org").await;
    assert_eq!(signed_up.status(), 201);
    let forgot = json!({ "email": "ada@example.org" });
    mailing.post("/auth/password/forgot", forgot).await;
    let token = mailing.mail("reset", 1).await.token();
    let refused = errors(mailing.reset(&token, FIRST).await).await;
    assert_eq!(refused[0]["pointer"], "/password");
    assert_eq!(refused[0]["code"], "breached");
    assert_eq!(mailing.reset(&token, SECOND).await.status(), 204);
}

#[tokio::test]
async fn a_list_that_cannot_be_used_does_not_replace_the_one_before() {
    let listed = Listed::start(Sqlite, &[FIRST]).await;
    let ready = listed.ready().await;
    assert_eq!(ready["status"], "ok");
    assert_eq!(ready["age_days"], 0);
    let date = ready["date"].as_str().expect("a date").to_owned();
    assert!(date.ends_with(".000000Z"), "{date}");

    let file = listed.folder.path().join("breached.bin");
    let mut bytes = std::fs::read(&file).expect("a file");
    bytes[1_000] ^= 1;
    let damaged = listed.folder.path().join("damaged");
    std::fs::write(&damaged, &bytes).expect("written");
    std::fs::rename(&damaged, &file).expect("renamed");
    let service = &listed.service;
    service.wait_for_metric("breached_list_unusable 1").await;
    let line = "readiness_check{check=\"breached_passwords\"} 0";
    while listed.ready().await["status"] != "degraded" {
        tokio::task::yield_now().await;
    }
    service.wait_for_metric(line).await;
    let ready = listed.ready().await;
    assert_eq!(ready["date"], date.as_str());
    let detail = ready["detail"].as_str().expect("a detail");
    assert!(detail.contains("damaged"), "{detail}");
    let refused = errors(listed.sign_up("ada@example.org", FIRST).await).await;
    assert_eq!(refused[0]["code"], "breached");
    let warnings = service.log_lines().into_iter().filter(|line| {
        line["message"] == "file of breached passwords unusable, keeping the list before"
    });
    assert_eq!(warnings.count(), 1);

    listed.replace(&[FIRST, SECOND]).await;
    service.wait_for_metric("breached_list_unusable 0").await;
}

#[tokio::test]
async fn a_list_on_the_disk_that_is_changed_in_place_refuses_nothing_until_it_is_replaced() {
    let listed = Listed::start_with(Sqlite, &[FIRST], "0").await;
    let refused = errors(listed.sign_up("ada@example.org", FIRST).await).await;
    assert_eq!(refused[0]["code"], "breached");
    let file = listed.folder.path().join("breached.bin");
    let file = std::fs::OpenOptions::new().write(true).open(file);
    let file = file.expect("opened");
    file.set_len(1_000).expect("truncated");

    let signed_up = listed.sign_up("ada@example.org", FIRST).await;
    assert_eq!(signed_up.status(), 201);
    let login = listed.log_in("ada@example.org", FIRST).await;
    assert_eq!(login.get("password_breached"), None);
    let service = &listed.service;
    for line in [
        "breached_look_up_failures_total 2",
        "breached_list_unusable 1",
        "breached_list_failures_total 1",
    ] {
        service.wait_for_metric(line).await;
    }
    while listed.ready().await["status"] != "degraded" {
        tokio::task::yield_now().await;
    }
    let detail = listed.ready().await["detail"].take();
    let detail = detail.as_str().expect("a detail");
    assert!(detail.contains("changed in place"), "{detail}");
    let warnings = service
        .log_lines()
        .into_iter()
        .filter(|line| line["message"] == "breached passwords unreadable, refusing none");
    assert_eq!(warnings.count(), 1);

    listed.replace(&[FIRST, SECOND]).await;
    service.wait_for_metric("breached_list_unusable 0").await;
    let refused = errors(listed.sign_up("eve@example.org", FIRST).await).await;
    assert_eq!(refused[0]["code"], "breached");
    assert_eq!(
        listed.log_in("ada@example.org", FIRST).await["password_breached"],
        true
    );
}

#[tokio::test]
async fn without_a_list_ready_has_no_check_of_it() {
    let service = Service::start(Sqlite).await;
    let body: Value = service.get("/ready").await.json().await.expect("JSON");
    assert_eq!(body["checks"].get("breached_passwords"), None);
}

#[test]
fn a_missing_or_broken_file_prevents_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = Database::new(Sqlite).url();
    let start = |file: &Path| {
        let settings = [
            ("DATABASE_URL", database.as_str()),
            ("PORT", "0"),
            ("BREACHED_PASSWORDS_FILE", text(file)),
        ];
        let output = run(&["serve"], &settings);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        output.stderr
    };
    let file = make(folder.path(), "file", &[FIRST]);
    let bytes = std::fs::read(&file).expect("a file");
    std::fs::write(&file, &bytes[..bytes.len() - 1]).expect("written");
    for (path, reason) in [
        (folder.path().join("missing"), "cannot be read"),
        (folder.path().join("list.txt"), "breached build"),
        (folder.path().to_path_buf(), "breached build"),
        (file, "damaged"),
    ] {
        let text = start(&path);
        assert!(
            text.contains("BREACHED_PASSWORDS_FILE") && text.contains(reason),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn the_command_makes_a_file_of_a_list_with_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("list.txt");
    // The SHA-1 of password, 123456 and qwerty.
    let lines = "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:10\n\
                 7C4A8D09CA3762AF61E59520943DC26494F8941B:30\n\
                 B1B3773A05C0ED0176787A4F1574FF0075F7521E:20\n";
    std::fs::write(&list, lines).expect("written");
    let out = folder.path().join("breached.bin");
    let build = |options: &[&str]| {
        let files = ["--from", text(&list), "--out", text(&out)];
        command(&[&files, options].concat())
    };
    for (options, passwords) in [
        (&[][..], "3 passwords"),
        (&["--top", "2"], "2 passwords"),
        (&["--min-count", "30"], "1 passwords"),
    ] {
        let output = build(options);
        assert!(output.status.success(), "{output:?}");
        assert!(output.stdout.starts_with(passwords), "{output:?}");
        assert!(output.stdout.ends_with("breached.bin\n"), "{output:?}");
    }
    for options in [
        &["--top", "0"][..],
        &["--min-count", "0"],
        &["--top", "1", "--min-count", "1"],
    ] {
        assert_eq!(build(options).status.code(), Some(2), "{options:?}");
    }
    let before = std::fs::read(&out).expect("a file");
    let failed = build(&["--min-count", "31"]);
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert_eq!(std::fs::read(&out).expect("a file"), before);
    let names = std::fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(names, 2, "the list and the file");
}

#[test]
fn the_command_line_creates_no_user_with_a_breached_password() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = make(folder.path(), "breached.bin", &[FIRST]);
    let database = Database::new(Sqlite);
    let url = database.url();
    let settings = [
        ("DATABASE_URL", url.as_str()),
        ("BCRYPT_COST", "4"),
        ("BREACHED_PASSWORDS_FILE", text(&file)),
    ];
    let create = |password| {
        let arguments = [
            "users",
            "create",
            "--email",
            "ada@example.org",
            "--name",
            "Ada",
        ];
        let arguments = [&arguments[..], &["--password-stdin"]].concat();
        run_with_input(&arguments, &settings, password)
    };
    let refused = create(FIRST);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("data breach"), "{refused:?}");
    assert!(create(SECOND).status.success());
}
