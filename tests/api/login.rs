//! `POST /auth/login`.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use reqwest::Response;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Database, Service, login_body, problem,
};

/// Without the limit of a client, which would come first.
const UNLIMITED: &[(&str, &str)] = &[("RATE_LIMIT_LOGIN", "off"), ("RATE_LIMIT_REFRESH", "off")];

async fn log_in(service: &Service, body: &Value) -> Response {
    let response = service.post("/auth/login", body).send().await;
    response.expect("a response")
}

#[rstest]
#[tokio::test]
async fn a_login_returns_the_tokens_of_a_session(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start(backend).await;
    let signed_up: Value = service
        .sign_up("Ada@example.org")
        .await
        .json()
        .await
        .expect("JSON");
    let mut body = login_body("aDA@example.ORG");
    body["label"] = json!("Ada's phone");
    let response = log_in(&service, &body).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["cache-control"], "no-store");
    let session: Value = response.json().await.expect("JSON");
    assert_eq!(session["user"], signed_up);
    assert_eq!(session["token_type"], "Bearer");
    assert_eq!(session["expires_in"], 1800);
    for (member, prefix) in [
        ("access_token", "eyJ"),
        ("refresh_token", "srt_"),
        ("device_token", "sdt_"),
    ] {
        let text = session[member].as_str().expect("a text");
        assert!(text.starts_with(prefix), "{member}");
    }
    let rows = "SELECT CAST(generation AS text) || ' ' || amr || ' ' || label FROM sessions";
    assert_eq!(service.database.rows(rows).await, ["0 pwd Ada's phone"]);
}

/// Which of them is wrong must not show: not by the body, not by a header.
///
/// Guarantee S5.
#[rstest]
#[tokio::test]
async fn an_unknown_address_and_a_wrong_password_are_reported_alike(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = Service::start_with(backend, UNLIMITED).await;
    assert_eq!(service.sign_up("ada@example.org").await.status(), 201);
    let mut seen = BTreeSet::new();
    for (email, password) in [
        ("ada@example.org", "correct horse battery stapl"),
        ("ada@example.org", "a"),
        ("eve@example.org", "correct horse battery staple"),
        ("ada+x@example.org", "correct horse battery staple"),
    ] {
        let response = log_in(&service, &json!({ "email": email, "password": password })).await;
        let names: BTreeSet<String> = response.headers().keys().map(ToString::to_string).collect();
        let challenge = response.headers()["www-authenticate"].clone();
        assert_eq!(challenge, "Bearer realm=\"signup-service\"");
        let mut body = problem(response, 401, "invalid-credentials").await;
        body["request_id"] = json!("");
        seen.insert((names, body.to_string()));
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[rstest]
#[case::no_password(json!({ "email": "ada@example.org" }), &["/password"])]
#[case::empty(json!({ "email": "ada@example.org", "password": "" }), &["/password"])]
#[case::nul(json!({ "email": "ada@example.org", "password": "a\u{0}b" }), &["/password"])]
#[case::too_long(json!({ "email": "ada@example.org", "password": "x".repeat(1025) }), &["/password"])]
#[case::a_trailing_dot(json!({ "email": "ada@example.org.", "password": "x" }), &["/email"])]
#[case::a_space(json!({ "email": "ada @example.org", "password": "x" }), &["/email"])]
#[case::everything(json!({ "label": "" }), &["/email", "/password", "/label"])]
#[tokio::test]
async fn what_can_be_no_credential_is_refused_before_the_look_up(
    #[case] body: Value,
    #[case] pointers: &[&str],
) {
    let service = Service::start(Sqlite).await;
    let body = problem(log_in(&service, &body).await, 422, "validation-failed").await;
    let errors = body["errors"].as_array().expect("a list").iter();
    let found: Vec<&str> = errors
        .filter_map(|error| error["pointer"].as_str())
        .collect();
    assert_eq!(found, pointers);
    let rows = service
        .database
        .rows("SELECT CAST(count(*) AS text) FROM login_throttle");
    assert_eq!(rows.await, ["0"]);
}

/// Every byte of a password counts.
#[tokio::test]
async fn long_passwords_are_compared_as_a_whole() {
    let service = Service::start_with(Sqlite, UNLIMITED).await;
    let long = |length: usize, last: &str| {
        let words = "correct horse battery staple ".repeat(40);
        words[..length - 1].to_owned() + last
    };
    for length in [72, 73, 1024] {
        let email = format!("ada{length}@example.org");
        let mut body = crate::harness::signup_body(&email);
        body["password"] = json!(long(length, "x"));
        let signed_up = service.signup(&body).send().await.expect("a response");
        assert_eq!(signed_up.status(), 201);
        for (last, status) in [("x", 200), ("y", 401)] {
            let body = json!({ "email": email, "password": long(length, last) });
            let response = log_in(&service, &body).await;
            assert_eq!(response.status(), status, "{length} {last}");
        }
    }
}

/// Guarantee S4.
#[rstest]
#[tokio::test]
async fn logins_with_one_key_begin_one_session(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start_with(backend, UNLIMITED).await;
    assert_eq!(service.sign_up("ada@example.org").await.status(), 201);
    let attempt = async || {
        let request = service.post("/auth/login", &login_body("ada@example.org"));
        let response = request.header("Idempotency-Key", "k").send().await;
        response.expect("a response")
    };
    let mut tokens = BTreeSet::new();
    let mut replayed = 0;
    // Twenty attempts, by as many as the flight of an address lets through in time.
    for _ in 0..4 {
        for response in join_all((0..5).map(|_| attempt())).await {
            assert_eq!(response.status(), 200);
            replayed += usize::from(response.headers().contains_key("idempotent-replayed"));
            let session: Value = response.json().await.expect("JSON");
            tokens.insert(
                ["refresh_token", "session_id", "device_token"]
                    .map(|member| session[member].as_str().expect("a text").to_owned()),
            );
        }
    }
    assert_eq!((tokens.len(), replayed), (1, 19));
    let rows = service
        .database
        .rows("SELECT CAST(count(*) AS text) FROM sessions");
    assert_eq!(rows.await, ["1"]);
    // Once the session was refreshed, its client has the response.
    let token = json!(tokens.first().expect("one")[0]);
    assert_eq!(service.refresh(&token, None).await.status(), 200);
    problem(attempt().await, 422, "idempotency-key-reused").await;
}

/// Strangers cannot guess, nor lock out the owner.
///
/// Guarantee S6.
#[rstest]
#[tokio::test]
async fn failures_are_throttled_except_for_known_devices(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[values("ada@example.org", "nobody@example.org")] guessed: &str,
) {
    let service = Service::start_with(backend, UNLIMITED).await;
    let session = service.logged_in("ada@example.org").await;
    let wrong = json!({ "email": guessed, "password": "wrong" });
    let mut statuses = Vec::new();
    for _ in 0..12 {
        statuses.push(log_in(&service, &wrong).await.status().as_u16());
    }
    assert_eq!(statuses, [[401; 10].as_slice(), &[429; 2]].concat());
    let response = log_in(&service, &wrong).await;
    let wait: u32 = response.headers()["retry-after"]
        .to_str()
        .expect("digits")
        .parse()
        .expect("a number");
    assert!((25..=30).contains(&wait), "{wait}");
    problem(response, 429, "login-throttled").await;
    let mut right = login_body("ada@example.org");
    let status = log_in(&service, &right).await.status();
    assert_eq!(status, if guessed.starts_with("ada") { 429 } else { 200 });
    right["device_token"] = session["device_token"].clone();
    assert_eq!(log_in(&service, &right).await.status(), 200);
    // A device token of another address is none.
    let mut other = wrong.clone();
    other["email"] = json!("eve@example.org");
    other["device_token"] = session["device_token"].clone();
    problem(log_in(&service, &other).await, 401, "invalid-credentials").await;
}

#[tokio::test]
async fn guesses_at_once_over_two_instances_are_throttled() {
    let database = Arc::new(Database::new(Postgres));
    let first = Service::start_on(Arc::clone(&database), UNLIMITED).await;
    let second = Service::start_on(Arc::clone(&database), UNLIMITED).await;
    assert_eq!(first.sign_up("ada@example.org").await.status(), 201);
    let wrong = json!({ "email": "ada@example.org", "password": "wrong" });
    let guesses = (0..100).map(|number| {
        let service = if number % 2 == 0 { &first } else { &second };
        log_in(service, &wrong)
    });
    let mut statuses: Vec<u16> = join_all(guesses)
        .await
        .iter()
        .map(|response| response.status().as_u16())
        .collect();
    statuses.sort_unstable();
    let hashed = statuses.iter().filter(|status| **status == 401).count();
    assert!((10..=12).contains(&hashed), "{hashed}: {statuses:?}");
    assert!(
        statuses
            .iter()
            .all(|status| [401, 429, 503].contains(status)),
        "{statuses:?}"
    );
}

#[rstest]
#[case::suspended("UPDATE users SET status = 'suspended'", &[], "account-suspended")]
#[case::unverified("UPDATE users SET email_verified_at = NULL", &[("EMAIL_VERIFICATION", "required"), ("MAIL_URL", "smtp://127.0.0.1:1?tls=none")], "email-not-verified")]
#[tokio::test]
async fn who_may_not_log_in_learns_why_only_with_the_right_password(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[case] change: &str,
    #[case] settings: &[(&str, &str)],
    #[case] slug: &str,
) {
    let service = Service::start_with(backend, settings).await;
    assert_eq!(service.sign_up("ada@example.org").await.status(), 201);
    service.database.execute(change).await.expect("changed");
    let wrong = json!({ "email": "ada@example.org", "password": "wrong" });
    problem(log_in(&service, &wrong).await, 401, "invalid-credentials").await;
    problem(
        log_in(&service, &login_body("ada@example.org")).await,
        403,
        slug,
    )
    .await;
    let rows = service
        .database
        .rows("SELECT CAST(count(*) AS text) FROM sessions");
    assert_eq!(rows.await, ["0"]);
}

#[tokio::test]
async fn logins_of_a_client_are_limited() {
    let service = Service::start_with(Sqlite, &[("RATE_LIMIT_LOGIN", "2/1h")]).await;
    for _ in 0..2 {
        let response = log_in(&service, &login_body("ada@example.org")).await;
        problem(response, 401, "invalid-credentials").await;
    }
    let response = log_in(&service, &login_body("eve@example.org")).await;
    problem(response, 429, "rate-limited").await;
}

async fn reauthenticate(service: &Service, token: &Value, password: &str) -> Response {
    let request = service.post("/auth/reauthenticate", &json!({ "password": password }));
    let request = request.bearer_auth(token.as_str().expect("a text"));
    request.send().await.expect("a response")
}

/// The time at which the password was sent, of an access token.
fn auth_time(token: &Value) -> i64 {
    use base64::Engine;
    let claims = token.as_str().and_then(|text| text.split('.').nth(1));
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims.expect("claims"));
    let claims: Value = serde_json::from_slice(&claims.expect("base64")).expect("JSON");
    claims["auth_time"].as_i64().expect("a number")
}

#[rstest]
#[tokio::test]
async fn a_password_that_is_sent_again_makes_the_session_fresh(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = Service::start_with(backend, UNLIMITED).await;
    let session = service.logged_in("ada@example.org").await;
    let token = &session["access_token"];
    let earlier = match backend {
        Sqlite => "UPDATE sessions SET auth_time = auth_time - 600000000",
        Postgres => "UPDATE sessions SET auth_time = auth_time - interval '10 minutes'",
    };
    service.database.execute(earlier).await.expect("changed");
    let wrong = reauthenticate(&service, token, "wrong").await;
    problem(wrong, 401, "invalid-credentials").await;
    let response = reauthenticate(&service, token, "correct horse battery staple").await;
    assert_eq!(response.status(), 200);
    let fresh: Value = response.json().await.expect("JSON");
    assert!(auth_time(&fresh["access_token"]) >= auth_time(token));
    assert_eq!(
        (&fresh["token_type"], &fresh["expires_in"]),
        (&json!("Bearer"), &json!(1800))
    );
    let rows = service
        .database
        .rows("SELECT CAST(count(*) AS text) FROM login_throttle");
    assert_eq!(rows.await, ["0"], "its failures are forgotten");
    let log = "SELECT action FROM auth_log WHERE action = 'reauthenticate'";
    assert_eq!(service.database.rows(log).await.len(), 1);
    for line in [
        "reauthentication_total{outcome=\"invalid\"} 1",
        "reauthentication_total{outcome=\"succeeded\"} 1",
    ] {
        service.wait_for_metric(line).await;
    }
}

#[rstest]
#[tokio::test]
async fn guesses_in_a_session_are_throttled_for_it_alone(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = Service::start_with(backend, UNLIMITED).await;
    let session = service.logged_in("ada@example.org").await;
    let token = &session["access_token"];
    for _ in 0..10 {
        let response = reauthenticate(&service, token, "wrong").await;
        problem(response, 401, "invalid-credentials").await;
    }
    let response = reauthenticate(&service, token, "correct horse battery staple").await;
    problem(response, 429, "login-throttled").await;
    for line in [
        "reauthentication_total{outcome=\"invalid\"} 10",
        "reauthentication_total{outcome=\"throttled\"} 1",
    ] {
        service.wait_for_metric(line).await;
    }
    let response = log_in(&service, &login_body("ada@example.org")).await;
    assert_eq!(response.status(), 200);
    let other: Value = response.json().await.expect("JSON");
    let response = reauthenticate(
        &service,
        &other["access_token"],
        "correct horse battery staple",
    );
    assert_eq!(response.await.status(), 200);
}

#[rstest]
#[case::the_session(
    "UPDATE sessions SET ended_at = created_at",
    401,
    "access-token-invalid",
    "ended"
)]
#[case::the_password(
    "UPDATE users SET password_hash = '!'",
    401,
    "invalid-credentials",
    "invalid"
)]
#[case::the_account("DELETE FROM users", 401, "access-token-invalid", "ended")]
#[tokio::test]
async fn what_ended_is_not_made_fresh(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[case] change: &str,
    #[case] status: u16,
    #[case] slug: &str,
    #[case] counted: &str,
) {
    let service = Service::start_with(backend, UNLIMITED).await;
    let session = service.logged_in("ada@example.org").await;
    service.database.execute(change).await.expect("changed");
    let token = &session["access_token"];
    let response = reauthenticate(&service, token, "correct horse battery staple").await;
    problem(response, status, slug).await;
    let counted = format!("reauthentication_total{{outcome=\"{counted}\"}} 1");
    service.wait_for_metric(&counted).await;
}

#[rstest]
#[tokio::test]
async fn a_full_queue_is_no_guess(#[values(Sqlite, Postgres)] backend: Backend) {
    let settings = [
        UNLIMITED,
        &[
            ("BCRYPT_COST", "13"),
            ("BCRYPT_LANES", "1"),
            ("BCRYPT_QUEUE", "1"),
            ("REQUEST_TIMEOUT_MS", "60000"),
        ],
    ];
    let service = Service::start_with(backend, &settings.concat()).await;
    // Those of one session are one after the other.
    let mut sessions = Vec::new();
    for number in 0..6 {
        let email = format!("ada{number}@example.org");
        sessions.push(service.logged_in(&email).await);
    }
    let send = |session: &Value| {
        let token = session["access_token"].clone();
        let service = &service;
        async move { reauthenticate(service, &token, "correct horse battery staple").await }
    };
    let responses = join_all(sessions.iter().map(send)).await;
    let (fresh, refused): (Vec<_>, Vec<_>) = responses
        .into_iter()
        .partition(|response| response.status() == 200);
    assert!(!fresh.is_empty() && !refused.is_empty(), "{refused:?}");
    for (outcome, count) in [
        ("succeeded", fresh.len()),
        ("overloaded", refused.len()),
        ("invalid", 0),
    ] {
        let line = format!("reauthentication_total{{outcome=\"{outcome}\"}} {count}");
        service.wait_for_metric(&line).await;
    }
    for response in refused {
        assert!(response.headers().contains_key("retry-after"));
        problem(response, 503, "overloaded").await;
    }
}

/// A look-up or a write that fails leaves nothing half done, and says so.
#[rstest]
#[case::the_look_up("users_read")]
#[case::the_session("sessions")]
#[case::the_throttle("login_throttle")]
#[tokio::test]
async fn a_login_without_its_table_fails_whole(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[case] table: &str,
) {
    let service = Service::start_with(backend, UNLIMITED).await;
    assert_eq!(service.sign_up("ada@example.org").await.status(), 201);
    let rename = format!("ALTER TABLE {table} RENAME TO gone");
    service.database.execute(&rename).await.expect("renamed");
    let response = log_in(&service, &login_body("ada@example.org")).await;
    assert!([500, 503].contains(&response.status().as_u16()));
    let back = format!("ALTER TABLE gone RENAME TO {table}");
    service.database.execute(&back).await.expect("renamed");
    let rows = service
        .database
        .rows("SELECT CAST(count(*) AS text) FROM sessions");
    assert_eq!(rows.await, ["0"]);
}
