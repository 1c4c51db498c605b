//! Accounts that administrators make, give a new password, and erase.

use reqwest::{Method, Response};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Mailing, Service, problem, signup_body,
};

const NEW: &str = "another horse battery staple";

/// May change and erase users.
const PERMISSIONS: [&str; 2] = ["users:write", "users:erase"];

/// Sends a request to the administration listener.
async fn send(service: &Service, method: Method, path: &str, key: &str, body: &Value) -> Response {
    let url = format!("http://{}{path}", service.administration());
    let request = service.client.request(method, url).bearer_auth(key);
    let request = match body {
        Value::Null => request,
        body => request.header("Idempotency-Key", "quokka").json(body),
    };
    request.send().await.expect("a response")
}

fn body() -> Value {
    json!({ "name": "Ada Lovelace", "email": "ada@example.org" })
}

/// A late retry of the request that made an account does not make it again.
/// Guarantee U4.
#[rstest]
#[tokio::test]
async fn an_account_is_made_for_another_once_and_stays_erased(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = Mailing::start(backend).await;
    let service = &mailing.service;
    let [key, another] = [(); 2].map(|()| service.service_key(&PERMISSIONS).1);
    let ada = body();
    let create = || send(service, Method::POST, "/admin/users", &key, &ada);
    let created = create().await;
    assert_eq!(created.status(), 201);
    let created: Value = created.json().await.expect("JSON");
    let again = create().await;
    assert_eq!(again.status(), 201);
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.json::<Value>().await.expect("JSON"), created);
    let taken = service.signup(&signup_body("ada@example.org")).send().await;
    let taken = taken.expect("a response");
    problem(taken, 409, "email-already-registered").await;
    // The administrator chooses no password, neither now nor by another request of the same key.
    let mut chosen = body();
    chosen["password"] = json!(NEW);
    let chosen = send(service, Method::POST, "/admin/users", &key, &chosen).await;
    problem(chosen, 400, "malformed-request").await;
    let mut other = body();
    other["name"] = json!("Eve");
    let other = send(service, Method::POST, "/admin/users", &key, &other).await;
    problem(other, 422, "idempotency-key-reused").await;
    let again = send(service, Method::POST, "/admin/users", &another, &ada).await;
    problem(again, 409, "email-already-registered").await;

    let mail = mailing.mail("set_password", 1).await;
    mailing.idle().await;
    assert_eq!(
        mailing.mails("set_password").len(),
        1,
        "one account, one mail"
    );
    assert_eq!(mail.to, "ada@example.org");
    // No password is right before one is chosen.
    problem(mailing.log_in("").await, 422, "validation-failed").await;
    problem(mailing.log_in(NEW).await, 401, "invalid-credentials").await;
    assert_eq!(mailing.reset(&mail.token(), NEW).await.status(), 204);
    problem(mailing.reset(&mail.token(), NEW).await, 410, "token-used").await;
    assert_eq!(mailing.log_in(NEW).await.status(), 200);
    let events = "SELECT type FROM user_events ORDER BY event_id";
    assert_eq!(
        service.database.rows(events).await,
        ["user.signed_up", "user.password_changed"]
    );

    let path = format!("/admin/users/{}", created["id"].as_str().expect("a text"));
    let erase = || send(service, Method::DELETE, &path, &key, &Value::Null);
    assert_eq!(erase().await.status(), 204);
    problem(erase().await, 404, "user-not-found").await;
    // A replay has the ids of the first response.
    let retried = create().await;
    assert_eq!(retried.status(), 410);
    assert_eq!(retried.headers()["idempotent-replayed"], "true");
    let retried: Value = retried.json().await.expect("JSON");
    assert_eq!(retried["type"], "/problems/account-erased");
    assert_eq!(service.database.counts().await[0], 0);
    let tombstones = "SELECT CAST(count(*) AS text) FROM user_tombstones";
    assert_eq!(service.database.rows(tombstones).await, ["1"]);
}

/// The password until now works until another one is chosen, and only the last link is good.
/// Guarantee M3.
#[rstest]
#[tokio::test]
async fn an_administrator_begins_a_reset(#[values(Sqlite, Postgres)] backend: Backend) {
    let mailing = Mailing::start(backend).await;
    let service = &mailing.service;
    let (_, key) = service.service_key(&PERMISSIONS);
    let created = send(service, Method::POST, "/admin/users", &key, &body()).await;
    let created: Value = created.json().await.expect("JSON");
    let first = mailing.mail("set_password", 1).await;
    let path = format!(
        "/admin/users/{}/password-reset",
        created["id"].as_str().expect("a text")
    );
    let begin = || send(service, Method::POST, &path, &key, &Value::Null);
    assert_eq!(begin().await.status(), 202);
    let second = mailing.mail("set_password", 2).await;
    let void = mailing.reset(&first.token(), NEW).await;
    problem(void, 410, "token-expired").await;
    assert_eq!(mailing.reset(&second.token(), NEW).await.status(), 204);

    assert_eq!(begin().await.status(), 202);
    let third = mailing.mail("reset", 1).await;
    assert_eq!(mailing.log_in(NEW).await.status(), 200);
    let other = "a third horse battery staple";
    assert_eq!(mailing.reset(&third.token(), other).await.status(), 204);
    problem(mailing.log_in(NEW).await, 401, "invalid-credentials").await;
    assert_eq!(mailing.log_in(other).await.status(), 200);
    let unknown = "/admin/users/01a1fcd0-39d9-7edf-9953-1bfef046d2c7/password-reset";
    let response = send(service, Method::POST, unknown, &key, &Value::Null).await;
    problem(response, 404, "user-not-found").await;
}
