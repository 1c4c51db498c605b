//! Logout, the sessions of a user, what other services check tokens with, and the own account.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join;
use reqwest::header::{CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use reqwest::{Method, RequestBuilder, Response};
use rstest::rstest;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use signup_service::platform::clock::SystemRandomness;
use signup_service::tokens::refresh;
use signup_service::tokens::secrets::TokenSecrets;
use signup_service::tokens::service_key::{self, ServiceKeyId};
use uuid::Uuid;

use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Database, Instances, SECRET, Service, Setup,
    login_body, problem,
};

/// What every instance must know by then.
const SOON: Duration = Duration::from_secs(2);

const UNLIMITED: &[(&str, &str)] = &[
    ("READS", "protected"),
    ("RATE_LIMIT_LOGIN", "off"),
    ("RATE_LIMIT_REFRESH", "off"),
    ("RATE_LIMIT_USER", "off"),
];

async fn start(backend: Backend) -> Service {
    Service::start_with(backend, UNLIMITED).await
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn request(service: &Service, method: &str, path: &str, token: &str) -> RequestBuilder {
    let method: Method = method.parse().expect("a method");
    let request = service.client.request(method, service.url(path));
    request.bearer_auth(token)
}

async fn send(service: &Service, method: &str, path: &str, token: &Value) -> Response {
    let request = request(service, method, path, text(token));
    request.send().await.expect("a response")
}

async fn log_in(service: &Service, email: &str, label: &str) -> Value {
    let mut body = login_body(email);
    body["label"] = json!(label);
    let response = service.post("/auth/login", &body).send().await;
    let response = response.expect("a response");
    assert_eq!(response.status(), 200);
    response.json().await.expect("JSON")
}

async fn json(response: Response) -> Value {
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
    response.json().await.expect("JSON")
}

async fn no_content(response: Response) {
    assert_eq!(response.status(), 204);
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(response.bytes().await.expect("none").is_empty());
}

async fn ended(service: &Service, session: &Value, reason: &str) {
    let response = service.refresh(&session["refresh_token"], None).await;
    let body = problem(response, 401, "session-ended").await;
    assert_eq!(body["reason"], reason);
    revoked(service, "GET", session).await;
}

async fn revoked(service: &Service, method: &str, session: &Value) {
    let path = "/users/me/sessions";
    let response = send(service, method, path, &session["access_token"]).await;
    let challenge = response.headers()["www-authenticate"].clone();
    assert_eq!(challenge, "Bearer error=\"invalid_token\"");
    let body = problem(response, 401, "access-token-invalid").await;
    assert_eq!(body["reason"], "revoked");
}

async fn is_live(service: &Service, session: &Value) -> bool {
    let path = "/users/me/sessions";
    let response = send(service, "GET", path, &session["access_token"]).await;
    response.status() == 200
}

/// A service key that may check tokens.
async fn gateway(service: &Service) -> Value {
    let secrets = TokenSecrets::new(&SecretString::from(SECRET), None);
    let id = ServiceKeyId::random(&SystemRandomness);
    let key = service_key::issue(&id, &SystemRandomness, &secrets);
    let hash = hex::encode(key.secret_hash);
    let (hash, now, then) = match &*service.database {
        Database::Sqlite(_) => (format!("x'{hash}'"), "1", "4000000000000000"),
        Database::Postgres(_) => (format!("'\\x{hash}'"), "now()", "now() + interval '1 day'"),
    };
    let insert = format!(
        "INSERT INTO service_keys (id, name, secret_hash, permissions, created_by, created_at, expires_at) \
         VALUES ('{id}', 'gateway', {hash}, '[\"tokens:check\"]', 'test', {now}, {then})"
    );
    Box::pin(service.database.execute(&insert))
        .await
        .expect("inserted");
    json!(key.text.expose_secret())
}

/// Guarantee S3.
#[rstest]
#[case::by_the_refresh_token(true, false)]
#[case::by_the_access_token(false, true)]
#[case::by_both(true, true)]
#[tokio::test]
async fn a_logout_ends_the_session_and_no_other(
    #[values(Sqlite, Postgres)] backend: Backend,
    #[case] by_refresh: bool,
    #[case] by_access: bool,
) {
    let service = start(backend).await;
    let other = service.logged_in("ada@example.org").await;
    let session = log_in(&service, "ada@example.org", "phone").await;
    let log_out = async || {
        let request = service.client.post(service.url("/auth/logout"));
        let request = if by_access {
            request.bearer_auth(text(&session["access_token"]))
        } else {
            request
        };
        let request = if by_refresh {
            request.json(&json!({ "refresh_token": session["refresh_token"] }))
        } else {
            request
        };
        request.send().await.expect("a response")
    };
    no_content(log_out().await).await;
    ended(&service, &session, "logged_out").await;
    no_content(log_out().await).await;
    assert!(is_live(&service, &other).await);
    for (query, expected) in [
        (
            "SELECT kind || ' ' || reason FROM revocations",
            "session logged_out",
        ),
        (
            "SELECT actor || ' ' || action || ' ' || outcome FROM auth_log WHERE action = 'logout'",
            "user logout logged_out",
        ),
    ] {
        assert_eq!(service.database.rows(query).await, [expected]);
    }
}

/// A client that lost its newest token logs out by an older one.
#[rstest]
#[tokio::test]
async fn a_logout_takes_a_refresh_token_of_any_generation(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = start(backend).await;
    let session = service.logged_in("ada@example.org").await;
    let refreshed = json(service.refresh(&session["refresh_token"], None).await).await;
    let body = json!({ "refresh_token": session["refresh_token"] });
    let response = service.post("/auth/logout", &body).send().await;
    no_content(response.expect("a response")).await;
    ended(&service, &refreshed, "logged_out").await;
}

#[rstest]
#[tokio::test]
async fn a_logout_of_nothing_is_no_error_and_ends_nothing(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = start(backend).await;
    let session = service.logged_in("ada@example.org").await;
    let id: Uuid = text(&session["session_id"]).parse().expect("an id");
    let secrets = TokenSecrets::new(&SecretString::from(SECRET), None);
    // A party that has the secret, but not the row, or the other way round, has no token.
    let other_secrets = TokenSecrets::new(&SecretString::from("x".repeat(32)), None);
    let forged = [
        refresh::issue(id, 0, &[7; 16], &secrets),
        refresh::issue(id, 0, &[7; 16], &other_secrets),
        refresh::issue(Uuid::from_u128(7), 0, &[7; 16], &secrets),
    ];
    let forged = forged.map(|token| json!({ "refresh_token": token.expose_secret() }));
    let bodies = [
        json!({}),
        json!({ "refresh_token": null }),
        json!({ "refresh_token": "" }),
        json!({ "refresh_token": "srt_x" }),
        json!({ "refresh_token": session["access_token"] }),
    ];
    for body in bodies.iter().chain(&forged) {
        let response = service.post("/auth/logout", body).send().await;
        no_content(response.expect("a response")).await;
    }
    let gateway = gateway(&service).await;
    let refresh_token = text(&session["refresh_token"]);
    for credential in ["x", "a.b.c", text(&gateway), refresh_token] {
        let response = send(&service, "POST", "/auth/logout", &json!(credential)).await;
        no_content(response).await;
    }
    let basic = service.client.post(service.url("/auth/logout"));
    let basic = basic.header("authorization", "Basic eDp5");
    no_content(basic.send().await.expect("a response")).await;
    for body in [json!({ "token": "x" }), json!({ "refresh_token": 7 })] {
        let response = service.post("/auth/logout", &body).send().await;
        problem(response.expect("a response"), 400, "malformed-request").await;
    }
    assert!(is_live(&service, &session).await);
    assert_eq!(
        service
            .refresh(&session["refresh_token"], None)
            .await
            .status(),
        200
    );
}

/// After the response to a logout no refresh token works, and no command, on any instance; and no read from two
/// seconds on.
///
/// Each of the thousand rounds has a login: together they take some ten seconds.
///
/// Guarantee S3.
#[rstest]
#[tokio::test]
async fn a_refresh_and_a_logout_at_once_leave_no_live_token(
    #[values(Setup::Sqlite, Setup::TwoInstances)] setup: Setup,
) {
    const ROUNDS: usize = 1_000;
    let instances = setup.start(UNLIMITED).await;
    let (first, second) = (instances.first(), instances.last());
    first.logged_in("ada@example.org").await;
    let mut successors = Vec::new();
    for round in 0..ROUNDS {
        let session = log_in(first, "ada@example.org", "again").await;
        let body = json!({ "refresh_token": session["refresh_token"] });
        let logout = async {
            let response = first.post("/auth/logout", &body).send().await;
            no_content(response.expect("a response")).await;
        };
        let refresh = second.refresh(&session["refresh_token"], None);
        // Either of them is sent first.
        let refreshed = if round % 2 == 0 {
            join(logout, refresh).await.1
        } else {
            join(refresh, logout).await.0
        };
        let mut held = vec![session];
        if refreshed.status() == 200 {
            held.push(refreshed.json().await.expect("JSON"));
        } else {
            let body = problem(refreshed, 401, "session-ended").await;
            assert_eq!(body["reason"], "logged_out");
        }
        for tokens in &held {
            let response = second.refresh(&tokens["refresh_token"], None).await;
            let body = problem(response, 401, "session-ended").await;
            assert_eq!(body["reason"], "logged_out");
            // The second instance need not know of it yet: the command asks the session's row.
            revoked(second, "DELETE", tokens).await;
        }
        successors.extend(
            held.into_iter()
                .skip(1)
                .map(|tokens| (tokens, Instant::now())),
        );
    }
    println!("{} of {ROUNDS} refreshes came first", successors.len());
    assert!(!successors.is_empty(), "the logout came first each time");
    for (tokens, begun) in &successors {
        refused_soon(&instances, tokens, *begun).await;
    }
}

/// Whether the access token reads on an instance.
async fn reads(service: &Service, tokens: &Value) -> bool {
    let token = &tokens["access_token"];
    let claims = text(token).split('.').nth(1).expect("claims");
    let claims = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims);
    let claims: Value = serde_json::from_slice(&claims.expect("base64")).expect("JSON");
    // By what the instance knows: no row is asked for a read.
    let path = format!("/users/{}", text(&claims["sub"]));
    let response = send(service, "GET", &path, token).await;
    if response.status() == 401 {
        let body = problem(response, 401, "access-token-invalid").await;
        assert_eq!(body["reason"], "revoked");
        return false;
    }
    assert_eq!(response.status(), 200);
    true
}

/// Waits until every instance refuses the access token, for as long as the service promises.
async fn refused_soon(instances: &Instances<Service>, tokens: &Value, ended: Instant) {
    for service in &instances.0 {
        while reads(service, tokens).await {
            assert!(ended.elapsed() < SOON, "it is still accepted");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// By whatever a session ends, on one instance, its access token commands nothing on another one from then on,
/// and reads for two seconds at most.
#[rstest]
#[case::by_a_logout("POST", "/auth/logout")]
#[case::by_its_owner("DELETE", "/users/me/sessions/{id}")]
#[case::with_all_others("DELETE", "/users/me/sessions")]
#[tokio::test]
async fn an_ended_session_is_known_to_every_instance(
    #[values(Setup::Sqlite, Setup::TwoInstances)] setup: Setup,
    #[case] method: &str,
    #[case] path: &str,
) {
    let instances = setup.start(UNLIMITED).await;
    let (first, second) = (instances.first(), instances.last());
    let other = first.logged_in("ada@example.org").await;
    let session = log_in(first, "ada@example.org", "phone").await;
    for service in &instances.0 {
        service.wait_for_revocations().await;
        assert!(reads(service, &session).await);
    }
    let by = if path == "/auth/logout" {
        &session
    } else {
        &other
    };
    let path = path.replace("{id}", text(&session["session_id"]));
    no_content(send(first, method, &path, &by["access_token"]).await).await;
    let ended = Instant::now();
    for path in [
        "/users/me/sessions",
        &format!("/users/me/sessions/{}", text(&other["session_id"])),
    ] {
        let response = send(second, "DELETE", path, &session["access_token"]).await;
        let body = problem(response, 401, "access-token-invalid").await;
        assert_eq!(body["reason"], "revoked");
    }
    let password = json!({ "password": "correct horse battery staple" });
    let request = second.post("/auth/reauthenticate", &password);
    let request = request.bearer_auth(text(&session["access_token"]));
    let response = request.send().await.expect("a response");
    problem(response, 401, "access-token-invalid").await;
    assert!(!reads(first, &session).await, "where it ended");
    refused_soon(&instances, &session, ended).await;
    for service in &instances.0 {
        assert!(reads(service, &other).await);
    }
}

#[rstest]
#[tokio::test]
async fn a_user_lists_the_live_sessions(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = start(backend).await;
    service.logged_in("eve@example.org").await;
    let first = service.logged_in("ada@example.org").await;
    let second = log_in(&service, "ada@example.org", "Ada's phone").await;
    let path = "/users/me/sessions";
    let listed = json(send(&service, "GET", path, &first["access_token"]).await).await;
    let sessions = listed["sessions"].as_array().expect("a list");
    let ids: Vec<&Value> = sessions.iter().map(|session| &session["id"]).collect();
    assert_eq!(ids, [&second["session_id"], &first["session_id"]]);
    let members = |session: &Value| {
        let members = ["label", "network", "current"].map(|name| session[name].clone());
        json!(members)
    };
    assert_eq!(
        members(&sessions[0]),
        json!(["Ada's phone", "127.0.0.0/24", false])
    );
    assert_eq!(members(&sessions[1]), json!([null, "127.0.0.0/24", true]));
    assert_eq!(sessions[1]["created_at"], sessions[1]["last_used_at"]);
    let refreshed = json(service.refresh(&first["refresh_token"], None).await).await;
    let listed = json(send(&service, "GET", path, &refreshed["access_token"]).await).await;
    let session = &listed["sessions"][1];
    assert!(text(&session["last_used_at"]) > text(&session["created_at"]));
    assert_eq!(session["current"], true);
}

#[rstest]
#[tokio::test]
async fn a_user_ends_an_own_session(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = start(backend).await;
    let session = service.logged_in("ada@example.org").await;
    let other = log_in(&service, "ada@example.org", "phone").await;
    let token = &session["access_token"];
    let path = |session: &Value| format!("/users/me/sessions/{}", text(&session["session_id"]));
    no_content(send(&service, "DELETE", &path(&other), token).await).await;
    ended(&service, &other, "revoked").await;
    no_content(send(&service, "DELETE", &path(&other), token).await).await;

    no_content(send(&service, "DELETE", &path(&session), token).await).await;
    ended(&service, &session, "revoked").await;
}

/// Whether another user has a session must not show.
///
/// Guarantee X2.
#[rstest]
#[tokio::test]
async fn a_foreign_session_is_as_unknown_as_none(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = start(backend).await;
    let session = service.logged_in("ada@example.org").await;
    let foreign = service.logged_in("eve@example.org").await;
    let mut seen = BTreeSet::new();
    for id in [
        text(&foreign["session_id"]),
        text(&foreign["user"]["id"]),
        "01a1fcd0-39d9-7edf-9953-1bfef046d2c7",
        &text(&session["session_id"]).replace('-', ""),
        "x",
    ] {
        let path = format!("/users/me/sessions/{id}");
        let response = send(&service, "DELETE", &path, &session["access_token"]).await;
        let names: BTreeSet<String> = response.headers().keys().map(ToString::to_string).collect();
        let mut body = problem(response, 404, "session-not-found").await;
        body["request_id"] = json!("");
        seen.insert((names, body.to_string()));
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(is_live(&service, &foreign).await);
}

#[rstest]
#[tokio::test]
async fn a_user_ends_all_other_sessions(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = start(backend).await;
    let foreign = service.logged_in("eve@example.org").await;
    let session = service.logged_in("ada@example.org").await;
    let others = [
        log_in(&service, "ada@example.org", "phone").await,
        log_in(&service, "ada@example.org", "laptop").await,
    ];
    let path = "/users/me/sessions";
    for _ in 0..2 {
        no_content(send(&service, "DELETE", path, &session["access_token"]).await).await;
    }
    for other in &others {
        ended(&service, other, "revoked").await;
    }
    assert!(is_live(&service, &session).await && is_live(&service, &foreign).await);
    let revocations = "SELECT CAST(count(*) AS text) FROM revocations";
    assert_eq!(service.database.rows(revocations).await, ["2"]);
}

#[rstest]
#[tokio::test]
async fn a_service_key_has_no_sessions_and_no_account(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = start(backend).await;
    let gateway = gateway(&service).await;
    for (method, path) in [
        ("GET", "/users/me"),
        ("GET", "/users/me/sessions"),
        ("DELETE", "/users/me/sessions"),
        ("DELETE", "/users/me/sessions/x"),
    ] {
        let response = send(&service, method, path, &gateway).await;
        problem(response, 403, "permission-denied").await;
    }
    let metrics = service.get("/metrics").await.text().await.expect("text");
    let denied = "access_denied_total{reason=\"not_permitted\",route=\"/users/me/sessions\"} 2";
    assert!(metrics.contains(denied), "{metrics}");
}

#[rstest]
#[tokio::test]
async fn the_published_keys_are_cached_and_revalidated(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = start(backend).await;
    let path = "/.well-known/jwks.json";
    let response = service.get(path).await;
    assert_eq!(response.headers()["cache-control"], "public, max-age=300");
    let tag = response.headers()[ETAG].clone();
    let jwks = json(response).await;
    let key = &jwks["keys"][0];
    let members = ["kty", "crv", "alg", "use"].map(|name| key[name].clone());
    assert_eq!(json!(members), json!(["EC", "P-256", "ES256", "sig"]));
    assert!(key["d"].is_null(), "a private key");
    let session = service.logged_in("ada@example.org").await;
    let (header, _) = text(&session["access_token"])
        .split_once('.')
        .expect("parts");
    let header = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, header);
    let header: Value = serde_json::from_slice(&header.expect("base64")).expect("JSON");
    assert_eq!(header["kid"], key["kid"]);

    let again = service
        .client
        .get(service.url(path))
        .header(IF_NONE_MATCH, &tag);
    let again = again.send().await.expect("a response");
    assert_eq!(again.status(), 304);
    assert_eq!(again.headers()[ETAG], tag);
    assert_eq!(again.headers()["cache-control"], "public, max-age=300");
}

/// Sends a form, as RFC 7662 wants it.
async fn introspect(service: &Service, by: &Value, form: String) -> Response {
    let request = request(service, "POST", "/auth/introspect", text(by));
    let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    request.body(form).send().await.expect("a response")
}

#[rstest]
#[tokio::test]
async fn a_gateway_introspects_tokens(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = start(backend).await;
    let gateway = gateway(&service).await;
    let session = service.logged_in("ada@example.org").await;
    let token = text(&session["access_token"]);
    let form = |token: &str| format!("token={token}&token_type_hint=access_token");

    let response = introspect(&service, &gateway, form(token)).await;
    assert_eq!(response.headers()["cache-control"], "no-store");
    let active = json(response).await;
    let url = "http://localhost:8000";
    for (member, expected) in [
        ("active", json!(true)),
        ("token_type", json!("Bearer")),
        ("iss", json!(url)),
        ("aud", json!(url)),
        ("sub", session["user"]["id"].clone()),
        ("sid", session["session_id"].clone()),
        ("client_id", json!("first-party")),
        ("amr", json!(["pwd"])),
        ("roles", json!([])),
        ("epoch", json!(0)),
        ("auth_time", active["iat"].clone()),
    ] {
        assert_eq!(active[member], expected, "{member}");
    }
    let life = active["exp"].as_i64().expect("a time") - active["iat"].as_i64().expect("a time");
    assert_eq!(life, 1800);
    let by_json = request(&service, "POST", "/auth/introspect", text(&gateway));
    let by_json = by_json.json(&json!({ "token": token })).send().await;
    assert_eq!(json(by_json.expect("a response")).await, active);

    no_content(send(&service, "POST", "/auth/logout", &session["access_token"]).await).await;
    let inactive = json!({ "active": false });
    let changed = token[..token.len() - 1].to_owned();
    let refresh_token = text(&session["refresh_token"]).to_owned();
    let long = "x".repeat(5_000);
    for other in [
        token.to_owned(),
        changed,
        refresh_token,
        long,
        String::new(),
    ] {
        let response = introspect(&service, &gateway, form(&other)).await;
        assert_eq!(json(response).await, inactive);
    }
    let wrong = [
        (String::new(), 422, "validation-failed"),
        ("token=a&token=b".to_owned(), 400, "malformed-request"),
        ("token=a&secret=b".to_owned(), 400, "malformed-request"),
        (form(&"x".repeat(8_192)), 413, "payload-too-large"),
    ];
    for (form, status, slug) in wrong {
        problem(introspect(&service, &gateway, form).await, status, slug).await;
    }
    let other_type = request(&service, "POST", "/auth/introspect", text(&gateway));
    let other_type = other_type
        .header(CONTENT_TYPE, "text/plain")
        .body("token=a");
    let response = other_type.send().await.expect("a response");
    problem(response, 415, "unsupported-media-type").await;
}

#[rstest]
#[tokio::test]
async fn checking_tokens_needs_a_permission(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = start(backend).await;
    let session = service.logged_in("ada@example.org").await;
    for (method, path) in [("POST", "/auth/introspect"), ("GET", "/auth/revocations")] {
        let response = send(&service, method, path, &session["access_token"]).await;
        assert_eq!(
            response.headers()["www-authenticate"],
            "Bearer error=\"insufficient_scope\", scope=\"tokens:check\""
        );
        problem(response, 403, "permission-denied").await;
    }
}

#[rstest]
#[tokio::test]
async fn a_gateway_reads_the_revocations(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = start(backend).await;
    let gateway = gateway(&service).await;
    let read = async |after: Option<&Value>| {
        let after = after.map_or_else(String::new, |after| format!("?after={}", text(after)));
        let path = format!("/auth/revocations{after}");
        json(send(&service, "GET", &path, &gateway).await).await
    };
    let first = read(None).await;
    assert_eq!(first["revocations"], json!([]));

    let session = service.logged_in("ada@example.org").await;
    no_content(send(&service, "POST", "/auth/logout", &session["access_token"]).await).await;
    let second = read(Some(&first["next"])).await;
    let revocation = &second["revocations"][0];
    for (member, expected) in [
        ("kind", json!("session")),
        ("subject", session["session_id"].clone()),
        ("min_epoch", Value::Null),
        ("reason", json!("logged_out")),
    ] {
        assert_eq!(revocation[member], expected, "{member}");
    }
    assert!(text(&revocation["forget_at"]) > text(&revocation["created_at"]));
    // One that commits late is behind the end of the list: the list goes back, and repeats.
    let third = read(Some(&second["next"])).await;
    assert_eq!(third["revocations"], second["revocations"]);

    for wrong in ["x", "", "AQ", "a&after=b"] {
        let path = format!("/auth/revocations?after={wrong}");
        let response = send(&service, "GET", &path, &gateway).await;
        problem(response, 400, "invalid-parameter").await;
    }
}

#[rstest]
#[tokio::test]
async fn pages_of_revocations_go_on_where_the_last_one_ended(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = start(backend).await;
    let gateway = gateway(&service).await;
    // All within the time by which a new round goes back.
    let (numbers, id, now, then) = match backend {
        Sqlite => (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) ",
            "CAST(printf('%016d', i) AS BLOB)",
            "CAST(unixepoch('subsec') * 1000000 AS INTEGER)",
            "4000000000000000",
        ),
        Postgres => (
            "WITH n(i) AS (SELECT generate_series(1, 2500)) ",
            "lpad(i::text, 32, '0')::uuid",
            "now()",
            "now() + interval '35 minutes'",
        ),
    };
    let insert = format!(
        "INSERT INTO revocations (id, kind, subject, reason, created_at, forget_at) {numbers} \
         SELECT {id}, 'user', {id}, 'erased', {now}, {then} FROM n"
    );
    service.database.execute(&insert).await.expect("inserted");
    let mut seen = BTreeSet::new();
    let mut path = "/auth/revocations".to_owned();
    for expected in [1_000, 1_000, 500] {
        let page = json(send(&service, "GET", &path, &gateway).await).await;
        let rows = page["revocations"].as_array().expect("a list");
        assert_eq!(rows.len(), expected);
        seen.extend(rows.iter().map(|row| text(&row["id"]).to_owned()));
        path = format!("/auth/revocations?after={}", text(&page["next"]));
    }
    assert_eq!(seen.len(), 2_500);
    // A new round.
    let page = json(send(&service, "GET", &path, &gateway).await).await;
    assert_eq!(page["revocations"].as_array().map(Vec::len), Some(1_000));
}

#[rstest]
#[tokio::test]
async fn a_user_reads_the_own_account(#[values(Sqlite, Postgres)] backend: Backend) {
    let service = start(backend).await;
    let session = service.logged_in("ada@example.org").await;
    let token = &session["access_token"];
    let response = send(&service, "GET", "/users/me", token).await;
    assert_eq!(response.headers()["cache-control"], "private, no-cache");
    let tag = response.headers()[ETAG].clone();
    let mut expected = session["user"].clone();
    expected["email_verified"] = json!(false);
    expected["status"] = json!("active");
    expected["roles"] = json!([]);
    expected["updated_at"] = Value::Null;
    assert_eq!(json(response).await, expected);
    let again = request(&service, "GET", "/users/me", text(token)).header(IF_NONE_MATCH, &tag);
    assert_eq!(again.send().await.expect("a response").status(), 304);

    let (verified, time) = match backend {
        Sqlite => ("1", "1700000000123457"),
        Postgres => ("true", "'2023-11-14 22:13:20.123457+00'"),
    };
    for change in [
        format!("UPDATE users_read SET email_verified = {verified}, updated_at = {time}"),
        format!(
            "INSERT INTO user_roles (user_id, role, granted_by, granted_at) \
             SELECT id, 'support', 'test', {time} FROM users"
        ),
    ] {
        service.database.execute(&change).await.expect("changed");
    }
    expected["email_verified"] = json!(true);
    expected["roles"] = json!(["support"]);
    expected["updated_at"] = json!("2023-11-14T22:13:20.123457Z");
    assert_eq!(
        json(send(&service, "GET", "/users/me", token).await).await,
        expected
    );

    let gone = "DELETE FROM users_read";
    service.database.execute(gone).await.expect("deleted");
    let response = send(&service, "GET", "/users/me", token).await;
    problem(response, 404, "user-not-found").await;
}

#[rstest]
#[tokio::test]
async fn the_age_of_the_feed_and_of_the_key_are_shown(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let service = start(backend).await;
    let metrics = service.get("/metrics").await.text().await.expect("text");
    for name in ["revocation_feed_age_seconds", "signing_key_age_seconds"] {
        let figure = metrics.lines().find_map(|line| line.strip_prefix(name));
        let figure: f64 = figure
            .and_then(|text| text.trim().parse().ok())
            .expect(name);
        assert!((0.0..60.0).contains(&figure), "{name} {figure}");
    }
    let ready = json(service.get("/ready").await).await;
    assert_eq!(ready["checks"]["revocations"]["status"], "ok");

    // The reads fail: the service is ready all the same.
    let away = "ALTER TABLE revocations RENAME TO revocations_away";
    service.database.execute(away).await.expect("renamed");
    service
        .wait_for_figure("revocation_feed_age_seconds ", |age| age > 10.0)
        .await;
    let ready = json(service.get("/ready").await).await;
    let check = &ready["checks"]["revocations"];
    assert_eq!(check["status"], "degraded", "{ready}");
    assert!(
        text(&check["detail"]).starts_with("not read for "),
        "{ready}"
    );
    service
        .wait_for_metric("readiness_check{check=\"revocations\"} 0")
        .await;
}

#[tokio::test]
async fn changes_of_a_user_are_limited_by_user() {
    let service = Service::start_with(Sqlite, &[("RATE_LIMIT_USER", "2/1h")]).await;
    let end_others = async |session: &Value| {
        let path = "/users/me/sessions";
        send(&service, "DELETE", path, &session["access_token"]).await
    };
    let session = service.logged_in("ada@example.org").await;
    for _ in 0..2 {
        no_content(end_others(&session).await).await;
    }
    let again = log_in(&service, "ada@example.org", "again").await;
    let response = end_others(&again).await;
    assert!(response.headers().contains_key("retry-after"));
    problem(response, 429, "rate-limited").await;
    let other = service.logged_in("eve@example.org").await;
    no_content(end_others(&other).await).await;
}
