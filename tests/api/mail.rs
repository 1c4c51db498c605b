//! Mails, and what their links are for: verification and recovery.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::join;
use reqwest::Response;
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Service, login_body, problem, signup_body,
};

/// How long a mail may take.
const SOON: Duration = Duration::from_secs(10);

/// A service that writes mails to files.
struct Mailing {
    service: Service,
    folder: TempDir,
}

/// A mail.
#[derive(Debug, Clone)]
struct Mail {
    to: String,
    id: String,
    text: String,
}

impl Mail {
    fn token(&self) -> String {
        let after = self.text.split('#').nth(1).expect("a link");
        let is_token = |c: &char| c.is_ascii_alphanumeric() || ['-', '_'].contains(c);
        after.chars().take_while(is_token).collect()
    }
}

impl Mailing {
    async fn start(backend: Backend) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("file:{}", folder.path().join("mail").display());
        let settings = [
            ("MAIL_URL", url.as_str()),
            ("EMAIL_VERIFICATION", "required"),
            ("RATE_LIMIT_MAIL", "off"),
            ("RATE_LIMIT_LOGIN", "off"),
            ("RATE_LIMIT_REFRESH", "off"),
        ];
        let service = Service::start_with(backend, &settings).await;
        Self { service, folder }
    }

    /// The mails of a kind so far, the oldest first.
    fn mails(&self, kind: &str) -> Vec<Mail> {
        let folder = self.folder.path().join("mail");
        let Ok(entries) = std::fs::read_dir(&folder) else {
            return Vec::new();
        };
        let mut paths: Vec<_> = entries
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str());
                name.is_some_and(|name| name.contains(&format!("Z-{kind}-")))
                    && path.extension().is_some_and(|extension| extension == "eml")
            })
            .collect();
        paths.sort();
        paths.iter().map(|path| read(path)).collect()
    }

    /// Waits until there are this many mails of a kind, and returns the newest.
    async fn mail(&self, kind: &str, count: usize) -> Mail {
        let begun = Instant::now();
        loop {
            let mut mails = self.mails(kind);
            if mails.len() >= count {
                assert_eq!(mails.len(), count, "{mails:?}");
                return mails.pop().expect("one");
            }
            assert!(
                begun.elapsed() < SOON,
                "no mail: {}",
                self.service.log_text()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        let response = self.service.post(path, &body).send().await;
        response.expect("a response")
    }

    async fn log_in(&self, password: &str) -> Response {
        let body = json!({ "email": "ada@example.org", "password": password });
        self.post("/auth/login", body).await
    }

    async fn verify(&self, token: &str, password: &str) -> Response {
        let body = json!({ "token": token, "password": password });
        self.post("/auth/verify-email", body).await
    }

    async fn reset(&self, token: &str, password: &str) -> Response {
        let body = json!({ "token": token, "password": password });
        self.post("/auth/password/reset", body).await
    }

    /// Waits until no mail waits to be sent.
    async fn idle(&self) {
        let waiting = "SELECT CAST(count(*) AS text) FROM mail_queue WHERE sent_at IS NULL";
        let begun = Instant::now();
        while self.service.database.rows(waiting).await != ["0"] {
            assert!(begun.elapsed() < SOON, "{}", self.service.log_text());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn read(path: &Path) -> Mail {
    let text = std::fs::read_to_string(path).expect("a mail");
    // Soft line breaks and the sign of equality, of quoted-printable.
    let text = text.replace("=\r\n", "").replace("=3D", "=");
    let header = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.expect(name).trim().to_owned()
    };
    Mail {
        to: header("To:"),
        id: header("Message-ID:"),
        text: text.clone(),
    }
}

fn password() -> String {
    let body = login_body("ada@example.org");
    body["password"].as_str().expect("a text").to_owned()
}

#[rstest]
#[tokio::test]
async fn an_address_is_verified_by_its_mail_and_the_password(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = Mailing::start(backend).await;
    assert_eq!(
        mailing.service.sign_up("ada@example.org").await.status(),
        201
    );
    problem(mailing.log_in(&password()).await, 403, "email-not-verified").await;
    let mail = mailing.mail("verify", 1).await;
    assert_eq!(mail.to, "ada@example.org");
    assert!(mail.id.ends_with("@localhost>"), "{mail:?}");
    let token = mail.token();
    assert_eq!(token.len(), 64);
    // A scanner that follows links consumes nothing.
    let path = "/auth/verify-email";
    problem(mailing.service.get(path).await, 405, "method-not-allowed").await;
    let wrong = mailing.verify(&token, "wrong").await;
    problem(wrong, 401, "invalid-credentials").await;
    problem(mailing.verify("x", &password()).await, 400, "token-invalid").await;
    for _ in 0..2 {
        assert_eq!(mailing.verify(&token, &password()).await.status(), 204);
    }
    assert_eq!(mailing.log_in(&password()).await.status(), 200);
    let events = "SELECT type FROM user_events ORDER BY occurred_at";
    let expected = ["user.signed_up", "user.email_verified"];
    assert_eq!(mailing.service.database.rows(events).await, expected);
    let verified = "SELECT CAST(version AS text) FROM users_read WHERE email_verified";
    assert_eq!(mailing.service.database.rows(verified).await, ["1"]);
}

#[rstest]
#[tokio::test]
async fn a_mail_is_sent_again_on_request_and_voids_the_one_before(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = Mailing::start(backend).await;
    assert_eq!(
        mailing.service.sign_up("ada@example.org").await.status(),
        201
    );
    let first = mailing.mail("verify", 1).await.token();
    let mut seen = BTreeSet::new();
    for email in ["ADA@example.org", "eve@example.org"] {
        let path = "/auth/verify-email/resend";
        let response = mailing.post(path, json!({ "email": email })).await;
        let status = response.status().as_u16();
        seen.insert((status, response.text().await.expect("text")));
    }
    assert_eq!(seen, BTreeSet::from([(202, String::new())]));
    let second = mailing.mail("verify", 2).await.token();
    let old = mailing.verify(&first, &password()).await;
    problem(old, 410, "token-expired").await;
    assert_eq!(mailing.verify(&second, &password()).await.status(), 204);
    // At most three in an hour, and none for an address that is verified.
    mailing.idle().await;
    for _ in 0..3 {
        let body = json!({ "email": "ada@example.org" });
        mailing.post("/auth/verify-email/resend", body).await;
    }
    mailing.idle().await;
    assert_eq!(mailing.mails("verify").len(), 2);
}

#[rstest]
#[tokio::test]
async fn a_password_is_reset_by_a_mail(#[values(Sqlite, Postgres)] backend: Backend) {
    let mailing = Mailing::start(backend).await;
    assert_eq!(
        mailing.service.sign_up("ada@example.org").await.status(),
        201
    );
    let verify = mailing.mail("verify", 1).await.token();
    assert_eq!(mailing.verify(&verify, &password()).await.status(), 204);
    let session: Value = mailing
        .log_in(&password())
        .await
        .json()
        .await
        .expect("JSON");
    let forgot = json!({ "email": "ada@example.org" });
    let response = mailing.post("/auth/password/forgot", forgot).await;
    assert_eq!(response.status(), 202);
    let token = mailing.mail("reset", 1).await.token();
    for (password, code) in [
        ("short", "too_short"),
        ("ada@example.org", "own_name_or_address"),
    ] {
        let refused = mailing.reset(&token, password).await;
        let body = problem(refused, 422, "validation-failed").await;
        assert_eq!(body["errors"][0]["code"], code);
    }
    let new = "another horse battery staple";
    let keyed = |key: &'static str, password: &str| {
        let body = json!({ "token": token, "password": password });
        let request = mailing.service.post("/auth/password/reset", &body);
        request.header("Idempotency-Key", key).send()
    };
    assert_eq!(keyed("k", new).await.expect("a response").status(), 204);
    let replayed = keyed("k", new).await.expect("a response");
    assert_eq!(replayed.status(), 204);
    assert_eq!(replayed.headers()["idempotent-replayed"], "true");
    let other = keyed("k", "yet another horse battery")
        .await
        .expect("a response");
    problem(other, 422, "idempotency-key-reused").await;
    problem(mailing.reset(&token, new).await, 410, "token-used").await;
    problem(
        mailing.log_in(&password()).await,
        401,
        "invalid-credentials",
    )
    .await;
    assert_eq!(mailing.log_in(new).await.status(), 200);
    let ended = mailing
        .service
        .refresh(&session["refresh_token"], None)
        .await;
    let body = problem(ended, 401, "session-ended").await;
    assert_eq!(body["reason"], "password_changed");
    assert_eq!(
        mailing.mail("password_changed", 1).await.to,
        "ada@example.org"
    );
}

#[rstest]
#[tokio::test]
async fn of_two_resets_with_one_token_one_counts(#[values(Sqlite, Postgres)] backend: Backend) {
    let mailing = Mailing::start(backend).await;
    assert_eq!(
        mailing.service.sign_up("ada@example.org").await.status(),
        201
    );
    let forgot = json!({ "email": "ada@example.org" });
    mailing.post("/auth/password/forgot", forgot).await;
    let token = mailing.mail("reset", 1).await.token();
    let passwords = ["another horse battery staple", "yet another horse battery"];
    let (one, other) = join(
        mailing.reset(&token, passwords[0]),
        mailing.reset(&token, passwords[1]),
    )
    .await;
    let statuses = [one.status().as_u16(), other.status().as_u16()];
    let mut sorted = statuses;
    sorted.sort_unstable();
    assert_eq!(sorted, [204, 410]);
    // The mailbox is its owner's, so the address is verified.
    for (status, password) in statuses.into_iter().zip(passwords) {
        let expected = if status == 204 { 200 } else { 401 };
        assert_eq!(mailing.log_in(password).await.status(), expected);
    }
}

/// A stranger signs up with an address. Its owner does not get an account that the stranger can open.
#[tokio::test]
async fn an_account_of_a_stranger_is_taken_over_by_the_owner_of_the_mailbox() {
    let mailing = Mailing::start(Sqlite).await;
    let response = mailing
        .service
        .signup(&signup_body("ada@example.org"))
        .send()
        .await;
    assert_eq!(response.expect("a response").status(), 201);
    let token = mailing.mail("verify", 1).await.token();
    let own = "another horse battery staple";
    problem(
        mailing.verify(&token, own).await,
        401,
        "invalid-credentials",
    )
    .await;
    let forgot = json!({ "email": "ada@example.org" });
    mailing.post("/auth/password/forgot", forgot).await;
    let reset = mailing.mail("reset", 1).await.token();
    assert_eq!(mailing.reset(&reset, own).await.status(), 204);
    problem(
        mailing.log_in(&password()).await,
        401,
        "invalid-credentials",
    )
    .await;
    assert_eq!(mailing.log_in(own).await.status(), 200);
    // Nor does the link of the first mail.
    let old = mailing.verify(&token, &password()).await;
    problem(old, 410, "token-expired").await;
}

/// What waits in the queue names no one, and the log no address or token.
#[tokio::test]
async fn no_address_or_token_is_in_the_queue_or_in_the_log() {
    let mailing = Mailing::start(Postgres).await;
    assert_eq!(
        mailing.service.sign_up("ada@example.org").await.status(),
        201
    );
    let token = mailing.mail("verify", 1).await.token();
    for email in ["ada@example.org", "eve@example.org"] {
        mailing
            .post("/auth/password/forgot", json!({ "email": email }))
            .await;
    }
    let reset = mailing.mail("reset", 1).await.token();
    mailing.idle().await;
    let queue = mailing
        .service
        .database
        .rows("SELECT CAST(m AS text) FROM mail_queue m")
        .await;
    let tokens = "SELECT CAST(t AS text) FROM one_time_tokens t";
    let tokens = mailing.service.database.rows(tokens).await;
    let log = mailing.service.log_text();
    for secret in [token.as_str(), reset.as_str()] {
        let places = [queue.join("\n"), tokens.join("\n"), log.clone()];
        assert!(places.iter().all(|place| !place.contains(secret)));
    }
    for place in [queue.join("\n"), log] {
        assert!(!place.contains("example.org"), "{place}");
    }
}
