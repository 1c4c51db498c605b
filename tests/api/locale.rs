//! The language of a user: its mails are in it, if the operator has templates for it.

use reqwest::{Method, Response};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::mailing::Mail;
use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Mailing, Service, problem, signup_body,
};

/// The mails of which there are templates in German.
const TRANSLATED: [&str; 4] = ["verify", "reset", "set_password", "erased"];

/// A service with templates for German, but not for German of Austria.
async fn start(backend: Backend) -> (Mailing, tempfile::TempDir) {
    let templates = tempfile::tempdir().expect("a folder");
    for kind in TRANSLATED {
        let text = match kind {
            "erased" => "Subject: Hallo\n\nDeutsch\n",
            _ => "Subject: Hallo\n\nDeutsch {{ link }}, {{ valid_minutes }} Minuten\n",
        };
        let write = |file: String, text: &str| std::fs::write(templates.path().join(file), text);
        write(format!("{kind}.de.txt"), text).expect("written");
        write(format!("{kind}.de.html"), "<p>Deutsch</p>").expect("written");
    }
    let folder = templates.path().to_str().expect("UTF-8");
    let mailing = Mailing::start_with(backend, &[("MAIL_TEMPLATES", folder)]).await;
    (mailing, templates)
}

fn is_german(mail: &Mail) -> bool {
    let is_german = mail.text.contains("Subject: Hallo\r\n");
    let header = mail.text.contains("Content-Language: de\r\n");
    assert_eq!(header, is_german, "{mail:?}");
    assert_eq!(
        mail.text.matches("Deutsch").count(),
        usize::from(is_german) * 2
    );
    is_german
}

fn body(locale: &str) -> Value {
    let mut body = signup_body("ada@example.org");
    body["locale"] = locale.into();
    body
}

async fn send(service: &Service, method: Method, session: &Value, body: Option<Value>) -> Response {
    let token = session["access_token"].as_str().expect("a text");
    let request = service.client.request(method, service.url("/users/me"));
    let request = request.bearer_auth(token);
    let request = match body {
        None => request,
        Some(body) => request.json(&body),
    };
    request.send().await.expect("a response")
}

async fn json_of(response: Response) -> Value {
    assert_eq!(response.status(), 200);
    response.json().await.expect("JSON")
}

#[rstest]
#[tokio::test]
async fn mails_are_in_the_language_of_their_user(#[values(Sqlite, Postgres)] backend: Backend) {
    let (mailing, _templates) = start(backend).await;
    let service = &mailing.service;
    let created = service.signup(&body("de-at")).send().await;
    let created = created.expect("a response");
    assert_eq!(created.status(), 201);
    // It is for the user alone.
    let created: Value = created.json().await.expect("JSON");
    assert_eq!(created.get("locale"), None);
    let verify = mailing.mail("verify", 1).await;
    assert!(is_german(&verify), "{verify:?}");
    assert!(verify.text.contains("1440 Minuten"), "{verify:?}");
    let password = body("")["password"].as_str().expect("a text").to_owned();
    let verified = mailing.verify(&verify.token(), &password).await;
    assert_eq!(verified.status(), 204);
    let session: Value = json_of(mailing.log_in(&password).await).await;
    let me = json_of(send(service, Method::GET, &session, None).await).await;
    assert_eq!(me["locale"], "de-AT");

    mailing.forgot("ada@example.org").await;
    assert!(is_german(&mailing.mail("reset", 1).await));
    let patch = |locale: Value| {
        let body = json!({ "locale": locale });
        send(service, Method::PATCH, &session, Some(body))
    };
    let refused = problem(patch(json!("de_AT")).await, 422, "validation-failed").await;
    assert_eq!(refused["errors"][0]["pointer"], "/locale");
    let events = "SELECT CAST(payload AS text) FROM user_events \
                  WHERE type = 'user.profile_updated' ORDER BY event_id DESC LIMIT 1";
    for (locale, reset, german) in [
        (Value::Null, 2, false),
        (json!("fr"), 3, false),
        (json!("de"), 3, true),
    ] {
        let changed = json_of(patch(locale.clone()).await).await;
        assert_eq!(
            changed.get("locale"),
            Some(&locale).filter(|of| !of.is_null())
        );
        assert_eq!(changed["name"], me["name"]);
        let event = service.database.rows(events).await;
        let event: Value = serde_json::from_str(&event[0]).expect("JSON");
        assert_eq!(event["locale"], locale);
        // Three in an hour.
        if !german {
            mailing.forgot("ada@example.org").await;
            assert!(!is_german(&mailing.mail("reset", reset).await));
        }
    }
    let unchanged = "SELECT CAST(version AS text) FROM users_read";
    let version = service.database.rows(unchanged).await;
    assert_eq!(patch(json!("DE")).await.status(), 200);
    assert_eq!(service.database.rows(unchanged).await, version, "no change");

    let erased = send(service, Method::DELETE, &session, None).await;
    assert_eq!(erased.status(), 204);
    assert!(is_german(&mailing.mail("erased", 1).await));
}

#[rstest]
#[tokio::test]
async fn the_language_is_part_of_a_keyed_request(#[values(Sqlite, Postgres)] backend: Backend) {
    let (mailing, _templates) = start(backend).await;
    let service = &mailing.service;
    let keyed = |body: Value| {
        let request = service.signup(&body).header("Idempotency-Key", "quokka");
        async { request.send().await.expect("a response") }
    };
    assert_eq!(keyed(body("de")).await.status(), 201);
    let replayed = keyed(body("DE")).await;
    assert_eq!(replayed.status(), 201);
    assert_eq!(replayed.headers()["idempotent-replayed"], "true");
    for other in [body("de-AT"), signup_body("ada@example.org")] {
        problem(keyed(other).await, 422, "idempotency-key-reused").await;
    }

    let (_, key) = service.service_key(&["users:write"]);
    let url = format!("http://{}/admin/users", service.administration());
    let made = json!({ "name": "Bob", "email": "bob@example.org", "locale": "de-CH" });
    let made = service.client.post(url).bearer_auth(key).json(&made);
    assert_eq!(made.send().await.expect("a response").status(), 201);
    assert!(is_german(&mailing.mail("set_password", 1).await));
}
