//! Access: who may use which operation, with which credential.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, Response};
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Database, InProcess, Service, Setup, login_body,
    problem, signup_body,
};
use crate::tokens::{self, Forger};

/// The operations that every caller may use. Each says why in its access rule.
const PUBLIC: [&str; 16] = [
    "GET /",
    "GET /.well-known/jwks.json",
    "GET /health",
    "GET /metrics",
    "GET /openapi.json",
    "GET /ready",
    "POST /auth/email/confirm",
    "POST /auth/email/undo",
    "POST /auth/login",
    "POST /auth/logout",
    "POST /auth/password/forgot",
    "POST /auth/password/reset",
    "POST /auth/refresh",
    "POST /auth/verify-email",
    "POST /auth/verify-email/resend",
    "POST /signup",
];

/// Every documented operation, as its method and path.
async fn operations(service: &Service) -> Vec<(String, String, Value)> {
    let response = service.get("/openapi.json").await;
    let document: Value = response.json().await.expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let mut found = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("operations") {
            found.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    found
}

fn protected() -> [(&'static str, &'static str); 1] {
    [("READS", "protected")]
}

async fn send(service: &Service, method: &str, path: &str, token: Option<&str>) -> Response {
    let method: Method = method.parse().expect("a method");
    let path = path.replace("{id}", "01a1fcd0-39d9-7edf-9953-1bfef046d2c7");
    let request = service.client.request(method, service.url(&path));
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    request.send().await.expect("a response")
}

/// Guarantee X1.
#[rstest]
#[tokio::test]
async fn every_operation_needs_a_credential_unless_it_is_listed(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = Service::start_with(backend, &protected()).await;
    let mut public = BTreeSet::new();
    for (method, path, operation) in operations(&service).await {
        let response = send(&service, &method, &path, None).await;
        let name = format!("{method} {path}");
        let needs_none = operation["security"] == json!([]);
        if response.status() == 401 {
            assert!(!needs_none, "{name} is documented as public");
            assert_eq!(
                response.headers()["www-authenticate"],
                "Bearer realm=\"signup-service\"",
                "{name}"
            );
            problem(response, 401, "authentication-required").await;
        } else {
            assert!(needs_none, "{name} is documented as protected");
            public.insert(name);
        }
    }
    assert_eq!(public, PUBLIC.map(str::to_owned).into());
}

/// What a user without any role may use: the own account.
const OWN: [&str; 10] = [
    "DELETE /users/me",
    "DELETE /users/me/sessions",
    "DELETE /users/me/sessions/{id}",
    "GET /users/me",
    "GET /users/me/export",
    "GET /users/me/sessions",
    "PATCH /users/me",
    "POST /auth/reauthenticate",
    "POST /users/me/email",
    "POST /users/me/password",
];

/// On both listeners, without a credential, with one that has expired, and with a user's.
#[rstest]
#[tokio::test]
async fn every_operation_refuses_those_whom_it_is_not_for(
    #[values(Setup::Sqlite, Setup::TwoInstances)] setup: Setup,
) {
    let forger = Forger::new();
    let instances = setup.start(&forger.settings()).await;
    let service = instances.last();
    let session = instances.first().logged_in("ada@example.org").await;
    let plain = session["access_token"].as_str().expect("a text");
    let [_, mut claims] = tokens::decoded(plain);
    claims["exp"] = json!(claims["iat"].as_i64().expect("a time") - 31);
    claims["roles"] = json!(["admin"]);
    let expired = forger.token(&claims);

    let administration = format!("http://{}", service.administration());
    let document = service.client.get(format!("{administration}/openapi.json"));
    let document = document.bearer_auth(plain).send().await;
    let document: Value = document.expect("a response").json().await.expect("JSON");
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("operations").keys() {
            all.push((administration.clone(), method.to_uppercase(), path.clone()));
        }
    }
    assert!(all.len() > 10, "{all:?}");
    for (method, path, _) in operations(service).await {
        all.push((service.url(""), method, path));
    }
    // After the others: it ends the session with which they are called.
    all.sort_by_key(|(_, method, path)| (method == "DELETE" && path == "/users/me", path.clone()));
    let (mut public, mut own) = (BTreeSet::new(), BTreeSet::new());
    for (listener, method, path) in all {
        let name = format!("{method} {path}");
        let path = path.replace("{id}", "01a1fcd0-39d9-7edf-9953-1bfef046d2c7");
        let path = path.replace("{role}", "support");
        let ask = async |credential: Option<&str>| {
            let method: Method = method.parse().expect("a method");
            let request = service.client.request(method, format!("{listener}{path}"));
            let request = match credential {
                Some(credential) => request.bearer_auth(credential),
                None => request,
            };
            request.send().await.expect("a response")
        };
        let response = ask(None).await;
        if response.status() != 401 || name == "POST /auth/refresh" {
            public.insert(name);
            continue;
        }
        problem(response, 401, "authentication-required").await;
        let body = problem(ask(Some(&expired)).await, 401, "access-token-invalid").await;
        assert_eq!(body["reason"], "expired", "{name}");
        let response = ask(Some(plain)).await;
        match (response.status().as_u16(), OWN.contains(&&*name)) {
            (403, false) => drop(problem(response, 403, "permission-denied").await),
            (404, false) => drop(problem(response, 404, "user-not-found").await),
            (status, is_own) => {
                assert!(is_own && ![401, 403].contains(&status), "{name}: {status}");
                own.insert(name);
            }
        }
    }
    assert_eq!(public, PUBLIC.map(str::to_owned).into());
    assert_eq!(own, OWN.map(str::to_owned).into());
}

/// Guarantee X2.
#[rstest]
#[tokio::test]
async fn a_plain_user_may_do_nothing_to_others(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start_with(backend, &protected()).await;
    let session = service.logged_in("ada@example.org").await;
    let token = session["access_token"].as_str().expect("a text");
    let own = format!("/users/{}", session["user"]["id"].as_str().expect("a text"));
    let response = send(&service, "GET", &own, Some(token)).await;
    let user: Value = response.json().await.expect("JSON");
    assert_eq!(user, session["user"]);

    let response = send(&service, "GET", "/users", Some(token)).await;
    assert_eq!(
        response.headers()["www-authenticate"],
        "Bearer error=\"insufficient_scope\", scope=\"users:read\""
    );
    problem(response, 403, "permission-denied").await;

    // A user that exists, one that does not, and what is no id: the same response.
    let eve: Value = service
        .sign_up("eve@example.org")
        .await
        .json()
        .await
        .expect("JSON");
    let eve = eve["id"].as_str().expect("a text");
    for (method, rest, status, slug) in [
        ("GET", "", 404, "user-not-found"),
        ("PATCH", "", 405, "method-not-allowed"),
        ("DELETE", "", 405, "method-not-allowed"),
        ("GET", "/sessions", 404, "not-found"),
        ("DELETE", "/sessions", 404, "not-found"),
    ] {
        let mut seen = BTreeSet::new();
        for id in [eve, "01a1fcd0-39d9-7edf-9953-1bfef046d2c7", "x"] {
            let path = format!("/users/{id}{rest}");
            let response = send(&service, method, &path, Some(token)).await;
            let names = response.headers().keys().map(ToString::to_string);
            let names: BTreeSet<String> = names.collect();
            let mut body = problem(response, status, slug).await;
            body["request_id"] = json!("");
            seen.insert((names, body.to_string()));
        }
        assert_eq!(seen.len(), 1, "{seen:?}");
    }
}

#[rstest]
#[tokio::test]
async fn an_administrator_reads_every_user(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start_with(backend, &protected()).await;
    let session = service.logged_in("ada@example.org").await;
    let eve: Value = service
        .sign_up("eve@example.org")
        .await
        .json()
        .await
        .expect("JSON");
    let path = format!("/users/{}", eve["id"].as_str().expect("a text"));
    let grant = "INSERT INTO user_roles (user_id, role, granted_by, granted_at) \
                 SELECT id, 'support', 'test', created_at FROM users \
                 WHERE email_canonical = 'ada@example.org'";
    service.database.execute(grant).await.expect("granted");
    let token = session["access_token"].as_str().expect("a text");
    let response = send(&service, "GET", &path, Some(token)).await;
    problem(response, 404, "user-not-found").await;
    // Roles are in the next access token.
    let refreshed = service.refresh(&session["refresh_token"], None).await;
    let tokens: Value = refreshed.json().await.expect("JSON");
    let token = tokens["access_token"].as_str().expect("a text");
    for path in [&path, "/users"] {
        assert_eq!(send(&service, "GET", path, Some(token)).await.status(), 200);
    }
}

/// Header and claims of a token, and its signature.
fn parts(token: &str) -> [String; 3] {
    let parts: Vec<&str> = token.split('.').collect();
    [parts[0], parts[1], parts[2]].map(str::to_owned)
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn decoded(part: &str) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(part).expect("base64");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Guarantee X3.
#[rstest]
#[tokio::test]
async fn forged_tokens_are_refused_and_cause_no_call(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = Service::start_with(backend, &protected()).await;
    let session = service.logged_in("ada@example.org").await;
    let token = session["access_token"].as_str().expect("a text");
    let [header, claims, signature] = parts(token);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let url = format!("http://{}/keys", listener.local_addr().expect("bound"));
    let with = |changes: Value| {
        let mut header = decoded(&header);
        for (name, value) in changes.as_object().expect("members") {
            header[name] = value.clone();
        }
        encoded(&header)
    };
    let forged = [
        format!(
            "{}.{claims}.",
            encoded(&json!({"alg": "none", "typ": "at+jwt"}))
        ),
        format!("{}.{claims}.", with(json!({"alg": "None"}))),
        format!("{header}.{claims}."),
        format!("{}.{claims}.{signature}", with(json!({"alg": "HS256"}))),
        format!(
            "{}.{claims}.{signature}",
            with(json!({"kid": "../../etc/passwd"}))
        ),
        format!("{}.{claims}.{signature}", with(json!({"kid": "' OR 1=1"}))),
        format!(
            "{}.{claims}.{signature}",
            with(json!({"kid": "k".repeat(10_240)}))
        ),
        format!("{}.{claims}.{signature}", with(json!({"jku": url}))),
        format!("{}.{claims}.{signature}", with(json!({"x5u": url}))),
        format!(
            "{}.{claims}.{signature}",
            with(json!({"jwk": {"kty": "EC"}}))
        ),
        format!("{}.{claims}.{signature}", with(json!({"crit": ["exp"]}))),
        format!("{}.{claims}.{signature}", with(json!({"typ": "JWT"}))),
        {
            let mut claims = decoded(&claims);
            claims["roles"] = json!(["admin"]);
            format!("{header}.{}.{signature}", encoded(&claims))
        },
        "x".to_owned(),
        "ssk_0000000000_x_y".to_owned(),
    ];
    for token in forged {
        let response = send(&service, "GET", "/users", Some(&token)).await;
        assert_eq!(
            response.headers()["www-authenticate"],
            "Bearer error=\"invalid_token\"",
            "{token}"
        );
        let body = problem(response, 401, "access-token-invalid").await;
        assert_eq!(body["reason"], "invalid", "{token}");
    }
    assert!(listener.accept().is_err(), "it was called");
    let in_the_query = service.get(&format!("/users?access_token={token}")).await;
    problem(in_the_query, 401, "authentication-required").await;
}

#[rstest]
#[tokio::test]
async fn a_token_expires_after_its_life_and_a_little(#[values(Sqlite, Postgres)] backend: Backend) {
    let database = Arc::new(Database::new(backend));
    let settings = [("BCRYPT_COST", "4"), ("READS", "protected")];
    let service = InProcess::start_on(database, &settings).await;
    let post = async |path: &str, body: &Value| {
        let request = reqwest::Client::new().post(service.url(path)).json(body);
        request.send().await.expect("a response")
    };
    assert_eq!(
        post("/signup", &signup_body("ada@example.org"))
            .await
            .status(),
        201
    );
    let response = post("/auth/login", &login_body("ada@example.org")).await;
    let session: Value = response.json().await.expect("JSON");
    let own = format!("/users/{}", session["user"]["id"].as_str().expect("a text"));
    let read = async || {
        let request = reqwest::Client::new().get(service.url(&own));
        let token = session["access_token"].as_str().expect("a text");
        request.bearer_auth(token).send().await.expect("a response")
    };
    service.clock.advance(Duration::from_secs(1800 + 28));
    assert_eq!(read().await.status(), 200);
    service.clock.advance(Duration::from_secs(4));
    let body = problem(read().await, 401, "access-token-invalid").await;
    assert_eq!(body["reason"], "expired");
}

/// What was revoked on one instance is known to the other within two seconds.
///
/// Guarantee S3.
#[tokio::test]
async fn a_token_of_an_ended_session_is_refused_on_every_instance() {
    let database = Arc::new(Database::new(Postgres));
    let settings = [protected()[0], ("REFRESH_GRACE_SECONDS", "0")];
    let first = Service::start_on(Arc::clone(&database), &settings).await;
    let second = Service::start_on(Arc::clone(&database), &settings).await;
    let session = first.logged_in("ada@example.org").await;
    let token = session["access_token"].as_str().expect("a text");
    let own = format!("/users/{}", session["user"]["id"].as_str().expect("a text"));
    for service in [&first, &second] {
        service.wait_for_revocations().await;
        assert_eq!(send(service, "GET", &own, Some(token)).await.status(), 200);
    }
    let refreshed = first.refresh(&session["refresh_token"], None).await;
    assert_eq!(refreshed.status(), 200);
    // A copy of the token that was exchanged.
    let mut reused = first.refresh(&session["refresh_token"], None).await;
    while reused.status() == 200 {
        reused = first.refresh(&session["refresh_token"], None).await;
    }
    problem(reused, 401, "session-ended").await;
    let response = send(&first, "GET", &own, Some(token)).await;
    let body = problem(response, 401, "access-token-invalid").await;
    assert_eq!(body["reason"], "revoked");
    let begun = std::time::Instant::now();
    while send(&second, "GET", &own, Some(token)).await.status() == 200 {
        assert!(
            begun.elapsed() < Duration::from_secs(2),
            "it is still accepted"
        );
        tokio::task::yield_now().await;
    }
}
