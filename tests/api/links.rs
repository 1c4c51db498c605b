//! How long the links of mails are valid, with a clock that the test advances.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Response};
use rstest::rstest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::mailing::{Mail, all_sent, mails, newest};
use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Database, InProcess, login_body, problem,
    signup_body,
};

const NEW: &str = "another horse battery staple";

const HOUR: u64 = 3_600;

/// A service that writes mails to files.
struct Mailed {
    service: InProcess,
    folder: TempDir,
}

impl Mailed {
    async fn start(backend: Backend) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("file:{}", folder.path().display());
        let settings = [
            ("BCRYPT_COST", "4"),
            ("EMAIL_VERIFICATION", "required"),
            ("MAIL_URL", url.as_str()),
            ("RATE_LIMIT_MAIL", "off"),
        ];
        let database = Arc::new(Database::new(backend));
        let service = InProcess::start_on(database, &settings).await;
        Self { service, folder }
    }

    async fn post(&self, path: &str, body: &Value, token: Option<&Value>) -> Response {
        let request = Client::new().post(self.service.url(path)).json(body);
        let request = match token {
            Some(token) => request.bearer_auth(token.as_str().expect("a text")),
            None => request,
        };
        request.send().await.expect("a response")
    }

    /// Waits for the only mail of a kind.
    async fn mail(&self, kind: &str) -> Mail {
        let mail = newest(self.folder.path(), kind, None, 1).await;
        mail.unwrap_or_else(|| panic!("no mail {kind}"))
    }

    /// Asks for another address, and returns the token of the mail of a kind.
    async fn asked(&self, kind: &str) -> String {
        let session = self
            .post("/auth/login", &login_body("ada@example.org"), None)
            .await;
        let session: Value = session.json().await.expect("JSON");
        let body = json!({ "email": "ada@lovelace.example" });
        let token = Some(&session["access_token"]);
        let asked = self.post("/users/me/email", &body, token).await;
        assert_eq!(asked.status(), 202);
        self.mail(kind).await.token()
    }
}

/// Each token works until shortly before the end of its life, and is expired after it.
///
/// Guarantee M3.
#[rstest]
#[case::to_verify("verify", 24 * HOUR)]
#[case::to_reset("reset", HOUR / 2)]
#[case::to_change("confirm_email", 24 * HOUR)]
#[case::to_undo("email_changing", 7 * 24 * HOUR)]
#[case::to_choose_a_password("email_restored", 72 * HOUR)]
#[tokio::test(flavor = "multi_thread")]
async fn a_link_expires_after_its_life(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[case] kind: &str,
    #[case] life: u64,
    #[values(true, false)] is_in_time: bool,
) {
    let mailed = Mailed::start(backend).await;
    let (service, user) = (&mailed.service, signup_body("ada@example.org"));
    assert_eq!(service.post("/signup", "k", &user).await.status(), 201);
    let verify = mailed.mail("verify").await.token();
    let by_password = json!({ "token": verify, "password": user["password"] });
    if kind != "verify" {
        let verified = mailed.post("/auth/verify-email", &by_password, None).await;
        assert_eq!(verified.status(), 204);
    }
    let (path, body) = match kind {
        "verify" => ("/auth/verify-email", by_password),
        "reset" => {
            let email = json!({ "email": "ada@example.org" });
            let asked = mailed.post("/auth/password/forgot", &email, None).await;
            assert_eq!(asked.status(), 202);
            let token = mailed.mail(kind).await.token();
            let body = json!({ "token": token, "password": NEW });
            ("/auth/password/reset", body)
        }
        "confirm_email" => {
            let token = mailed.asked(kind).await;
            ("/auth/email/confirm", json!({ "token": token }))
        }
        "email_changing" => {
            let token = mailed.asked(kind).await;
            ("/auth/email/undo", json!({ "token": token }))
        }
        _ => {
            let undo = json!({ "token": mailed.asked("email_changing").await });
            let undone = mailed.post("/auth/email/undo", &undo, None).await;
            assert_eq!(undone.status(), 204);
            let token = mailed.mail(kind).await.token();
            let body = json!({ "token": token, "password": NEW });
            ("/auth/password/reset", body)
        }
    };
    // The mail took a moment, which is a part of the life.
    let seconds = if is_in_time { life - 20 } else { life + 1 };
    service.clock.advance(Duration::from_secs(seconds));
    let response = mailed.post(path, &body, None).await;
    if is_in_time {
        assert_eq!(response.status(), 204);
    } else {
        problem(response, 410, "token-expired").await;
        let used = "SELECT purpose FROM one_time_tokens WHERE used_at IS NOT NULL AND purpose = ";
        let purpose = match kind {
            "confirm_email" => "change",
            "email_changing" => "undo",
            "email_restored" => "set_password",
            kind => kind,
        };
        let used = service.database.rows(&format!("{used}'{purpose}'")).await;
        assert!(used.is_empty(), "{used:?}");
    }
}

/// Strangers can ask for all the mails that an address gets in an hour or in a day. The last one has a link that works for
/// as long as there is no other.
///
/// Guarantee M5.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn the_last_reset_for_some_time_works_for_a_day(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailed = Mailed::start(backend).await;
    let (service, user) = (&mailed.service, signup_body("ada@example.org"));
    assert_eq!(service.post("/signup", "k", &user).await.status(), 201);
    mailed.mail("verify").await;
    let email = json!({ "email": "ada@example.org" });
    let forgot = || mailed.post("/auth/password/forgot", &email, None);
    let mut lasting = Vec::new();
    for number in 1..=10 {
        assert_eq!(forgot().await.status(), 202);
        let mail = newest(mailed.folder.path(), "reset", None, number).await;
        let mail = mail.expect("a mail");
        let lasts = mail.text.contains("24 hours");
        assert_eq!(
            lasts,
            number % 3 == 0 || number == 10,
            "{number}: {}",
            mail.text
        );
        if lasts {
            lasting.push(mail.token());
        }
        if number % 3 == 0 {
            service.clock.advance(Duration::from_secs(HOUR + 60));
        }
    }
    // No more until the first was a day ago, and what asks for it disturbs nothing.
    service.clock.advance(Duration::from_secs(2 * HOUR));
    assert_eq!(forgot().await.status(), 202);
    service.clock.advance(Duration::from_secs(18 * HOUR - 600));
    assert_eq!(forgot().await.status(), 202);
    assert!(all_sent(&service.database).await, "mails wait");
    assert_eq!(mails(mailed.folder.path(), "reset").len(), 10);
    // Not made void by the three after it.
    let body = json!({ "token": lasting[0], "password": NEW });
    let reset = mailed.post("/auth/password/reset", &body, None).await;
    assert_eq!(reset.status(), 204);
    // The owner was there: strangers have used nothing up.
    assert_eq!(forgot().await.status(), 202);
    let mail = newest(mailed.folder.path(), "reset", None, 11).await;
    assert!(mail.expect("a mail").text.contains("30 minutes"));
}
