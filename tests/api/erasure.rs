//! Erasure: what is left of a user is an id, and the times of its events.

use reqwest::{Method, Response};
use rstest::rstest;
use serde_json::{Value, json};
use throwaway_servers::redis;

use crate::harness::collector::hex;
use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Mailing, Service, problem, run, signup_body,
};
use crate::leaks::tables;

/// The values of a user that must be nowhere afterwards.
const PERSON: [&str; 3] = ["wolpertinger", "Wolpertinger", "Elwetritsch"];

fn body() -> Value {
    json!({
        "name": "Wolpertinger",
        "display_name": "Elwetritsch",
        "email": "wolpertinger@example.org",
        "password": "correct horse battery staple",
    })
}

async fn erase(service: &Service, session: &Value) -> Response {
    let token = session["access_token"].as_str().expect("a text");
    let request = service.client.delete(service.url("/users/me"));
    let response = request.bearer_auth(token).send().await;
    response.expect("a response")
}

async fn log_in(service: &Service) -> Value {
    let login = json!({
        "email": "wolpertinger@example.org",
        "password": "correct horse battery staple",
    });
    let response = service.post("/auth/login", &login).send().await;
    let response = response.expect("a response");
    assert_eq!(response.status(), 200);
    response.json().await.expect("JSON")
}

fn command(service: &Service, arguments: &[&str]) -> (bool, String) {
    let url = service.database.url();
    let output = run(arguments, &[("DATABASE_URL", &url)]);
    (
        output.status.success(),
        format!("{}{}", output.stdout, output.stderr),
    )
}

/// Guarantee U4.
#[rstest]
#[tokio::test]
async fn nothing_of_an_erased_user_is_left(#[values(Sqlite, Postgres)] backend: Backend) {
    let redis = redis::server().database();
    let settings = [
        ("REDIS_URL", &*redis.url()),
        ("RUST_LOG", "trace"),
        ("EMAIL_VERIFICATION", "off"),
    ];
    let mailing = Mailing::start_with(backend, &settings).await;
    let service = &mailing.service;
    let keyed = || service.signup(&body()).header("Idempotency-Key", "quokka");
    let created = keyed().send().await.expect("a response");
    assert_eq!(created.status(), 201);
    let created: Value = created.json().await.expect("JSON");
    let session = log_in(service).await;
    let token = session["access_token"].as_str().expect("a text");
    let me = |method: Method, path: &str| {
        let request = service.client.request(method, service.url(path));
        request.bearer_auth(token)
    };
    let patch = me(Method::PATCH, "/users/me").json(&json!({ "name": "Wolpertinger II" }));
    assert_eq!(patch.send().await.expect("a response").status(), 200);
    let email = json!({ "email": "wolpertinger@second.example" });
    let email = me(Method::POST, "/users/me/email").json(&email);
    assert_eq!(email.send().await.expect("a response").status(), 202);
    mailing.mail("confirm_email", 1).await;
    mailing.idle().await;

    assert_eq!(erase(service, &session).await.status(), 204);
    let again = problem(erase(service, &session).await, 401, "access-token-invalid").await;
    assert_eq!(again["reason"], "erased");
    let refreshed = service.refresh(&session["refresh_token"], None).await;
    problem(refreshed, 401, "refresh-token-invalid").await;
    let retried = keyed().send().await.expect("a response");
    assert_eq!(retried.headers()["idempotent-replayed"], "true");
    assert_eq!(retried.status(), 410);
    let retried: Value = retried.json().await.expect("JSON");
    assert_eq!(retried["type"], "/problems/account-erased");
    assert_eq!(service.database.counts().await[0], 0, "no account");

    let mail = mailing.mail("erased", 1).await;
    assert_eq!(mail.to, "wolpertinger@example.org");
    mailing.idle().await;
    for (table, rows) in tables(service, backend).await {
        for value in PERSON {
            let hex = hex(value.as_bytes()).to_uppercase();
            assert!(!rows.contains(value), "{value} is in {table}: {rows}");
            assert!(!rows.to_uppercase().contains(&hex), "{table}: {rows}");
        }
    }
    let log = service.log_text();
    for value in PERSON {
        assert!(!log.contains(value), "{value} is in the log");
    }
    // The copy of the outcome has gone before it would have expired.
    assert!(redis.keys().is_empty(), "{:?}", redis.keys());

    let id = created["id"].as_str().expect("a text");
    let literal = service.database.uuid_literal(id);
    let events = format!(
        "SELECT type || ' ' || CAST(payload AS text) FROM user_events WHERE user_id = {literal} \
         ORDER BY event_id"
    );
    let events = service.database.rows(&events).await;
    let (last, before) = events.split_last().expect("events");
    assert!(last.starts_with("user.erased "), "{last}");
    assert!(before.len() >= 2, "{before:?}");
    for event in before {
        let payload = event.split_once(' ').expect("a payload").1;
        let payload: Value = serde_json::from_str(payload).expect("JSON");
        assert_eq!(payload, json!({ "erased": true }), "{event}");
    }
    // Its address is free.
    let fresh = service.signup(&body()).send().await.expect("a response");
    assert_eq!(fresh.status(), 201);
}

#[rstest]
#[tokio::test]
async fn an_event_can_lose_its_payload_and_nothing_else(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = Service::start(backend).await;
    assert_eq!(service.sign_up("ada@example.org").await.status(), 201);
    let refused = [
        "UPDATE user_events SET type = 'other'",
        "UPDATE user_events SET payload = '{}'",
        "UPDATE user_events SET payload = '{\"erased\":true}', type = 'other'",
        "DELETE FROM user_events",
    ];
    for statement in refused {
        let done = service.database.execute(statement).await;
        let error = done.expect_err(statement).to_string();
        assert!(error.contains("append-only"), "{statement}: {error}");
    }
    let redact = "UPDATE user_events SET payload = '{\"erased\":true}'";
    service.database.execute(redact).await.expect("redacts");
}

#[rstest]
#[tokio::test]
async fn the_last_administrator_is_not_erased(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let created = service.signup(&body()).send().await.expect("a response");
    assert_eq!(created.status(), 201);
    let (done, text) = command(
        &service,
        &["users", "grant", "wolpertinger@example.org", "admin"],
    );
    assert!(done, "{text}");
    let session = log_in(&service).await;
    problem(erase(&service, &session).await, 409, "last-admin").await;
    assert_eq!(
        service.sign_up("ada@example.org").await.status(),
        201,
        "a user who goes on"
    );
    let (done, text) = command(&service, &["users", "grant", "ada@example.org", "admin"]);
    assert!(done, "{text}");
    assert_eq!(erase(&service, &session).await.status(), 204);
}

/// After a backup from before is restored, those who were erased since are erased again.
/// Guarantee U4.
#[rstest]
#[tokio::test]
async fn tombstones_are_replayed_after_a_restore(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let created = service.signup(&body()).send().await.expect("a response");
    let created: Value = created.json().await.expect("JSON");
    let id = created["id"].as_str().expect("a text");
    assert_eq!(service.sign_up("ada@example.org").await.status(), 201);
    let other = Service::start(backend).await;
    let elsewhere = other.signup(&signup_body("bob@example.org")).send().await;
    assert_eq!(elsewhere.expect("a response").status(), 201);

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tombstones");
    let file = file.to_str().expect("a path");
    std::fs::write(
        file,
        format!("{id}\n01a1fcd0-39d9-7edf-9953-1bfef046d2c7\n"),
    )
    .expect("written");
    let (done, text) = command(&service, &["users", "erase", "--from-tombstones", file]);
    assert!(done, "{text}");
    assert_eq!(service.database.counts().await[0], 1, "ada");
    let (done, text) = command(&service, &["users", "tombstones"]);
    assert!(done && text.contains(id), "{text}");
    // It can be repeated.
    let (done, text) = command(&service, &["users", "erase", "--from-tombstones", file]);
    assert!(done, "{text}");
    let (done, text) = command(&service, &["users", "erase", "ada@example.org", "--yes"]);
    assert!(done, "{text}");
    assert_eq!(service.database.counts().await[0], 0);
    let (done, text) = command(&service, &["users", "erase", "ada@example.org", "--yes"]);
    assert!(!done && text.contains("no user"), "{text}");
}
