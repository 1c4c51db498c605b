//! Erasure: what is left of a user is an id, and the times of its events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use reqwest::{Method, Response};
use rstest::rstest;
use serde_json::{Value, json};
use throwaway_servers::redis;

use crate::harness::collector::hex;
use crate::harness::mailing::no_mail_waits;
use crate::harness::{
    Backend, Backend::Postgres, Backend::Sqlite, Mailing, Service, Setup, login_body, problem, run,
    signup_body,
};
use crate::leaks::tables;

/// What every instance must know by then.
const SOON: Duration = Duration::from_secs(2);

/// The values of a user that must be nowhere afterwards.
const PERSON: [&str; 4] = [
    "wolpertinger",
    "Wolpertinger",
    "Elwetritsch",
    "de-x-rasselbo",
];

fn body() -> Value {
    json!({
        "name": "Wolpertinger",
        "display_name": "Elwetritsch",
        "email": "wolpertinger@example.org",
        "password": "correct horse battery staple",
        "locale": "de-x-rasselbo",
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
    let confirm = mailing.mail("confirm_email", 1).await.token();
    mailing.idle().await;

    assert_eq!(erase(service, &session).await.status(), 204);
    let again = problem(erase(service, &session).await, 401, "access-token-invalid").await;
    assert_eq!(again["reason"], "erased");
    let refreshed = service.refresh(&session["refresh_token"], None).await;
    problem(refreshed, 401, "refresh-token-invalid").await;
    let late = json!({ "token": confirm });
    let late = service.post("/auth/email/confirm", &late).send().await;
    problem(late.expect("a response"), 400, "token-invalid").await;
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

/// Where a signup says nothing of the address, a late retry says as little, and makes no account either.
/// Guarantee U4.
#[rstest]
#[tokio::test]
async fn a_late_retry_of_a_uniform_signup_makes_no_account(
    #[values(Sqlite, Postgres)] backend: Backend,
) {
    let mailing = Mailing::start_with(backend, &[("SIGNUP_ANSWER", "uniform")]).await;
    let service = &mailing.service;
    let keyed = || service.signup(&body()).header("Idempotency-Key", "quokka");
    let created = keyed().send().await.expect("a response");
    assert_eq!(created.status(), 202);
    let created = created.text().await.expect("text");
    let token = mailing.mail("verify", 1).await.token();
    let verified = mailing.verify(&token, "correct horse battery staple").await;
    assert_eq!(verified.status(), 204);
    let session = log_in(service).await;
    assert_eq!(erase(service, &session).await.status(), 204);
    let retried = keyed().send().await.expect("a response");
    assert_eq!(retried.headers()["idempotent-replayed"], "true");
    assert_eq!(retried.status(), 202);
    assert_eq!(retried.text().await.expect("text"), created);
    assert_eq!(service.database.counts().await[0], 0, "no account");
    mailing.mail("erased", 1).await;
    mailing.idle().await;
    assert_eq!(mailing.mails("verify").len(), 1);
}

/// On the other instance the retry of an erasure gets its outcome at once, and what the instance knows of the user
/// is soon that it was erased.
#[rstest]
#[tokio::test]
async fn an_erased_user_is_known_to_every_instance(
    #[values(Setup::Sqlite, Setup::TwoInstances)] setup: Setup,
) {
    let instances = setup.start(&[("READS", "protected")]).await;
    let created = instances.first().signup(&body()).send().await;
    assert_eq!(created.expect("a response").status(), 201);
    let (session, other) = (
        log_in(instances.first()).await,
        log_in(instances.last()).await,
    );
    for service in &instances.0 {
        service.wait_for_revocations().await;
    }
    assert_eq!(erase(instances.first(), &session).await.status(), 204);
    let begun = Instant::now();
    let service = instances.last();
    for session in [&session, &other] {
        let again = problem(erase(service, session).await, 401, "access-token-invalid").await;
        assert_eq!(again["reason"], "erased");
        let refreshed = service.refresh(&session["refresh_token"], None).await;
        problem(refreshed, 401, "refresh-token-invalid").await;
    }
    for service in &instances.0 {
        loop {
            let token = other["access_token"].as_str().expect("a text");
            let me = service.client.get(service.url("/users/me"));
            let me = me.bearer_auth(token).send().await.expect("a response");
            if me.status() == 401 {
                let body = problem(me, 401, "access-token-invalid").await;
                assert_eq!(body["reason"], "erased");
                break;
            }
            // Until it is read from the feed, there is no such user.
            problem(me, 404, "user-not-found").await;
            assert!(begun.elapsed() < SOON, "not known yet");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let revocations = "SELECT kind || ' ' || reason FROM revocations";
    let revocations = service.database.rows(revocations).await;
    assert_eq!(revocations, ["user erased"]);
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

/// What a user does at the time of the erasure is done before it, and is gone; or is refused after it.
/// Guarantee U4.
#[rstest]
#[tokio::test]
async fn nothing_is_written_beside_an_erasure(
    #[values(Setup::Sqlite, Setup::TwoInstances)] setup: Setup,
) {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("file:{}", folder.path().join("mail").display());
    let settings = [
        ("MAIL_URL", url.as_str()),
        ("RATE_LIMIT_LOGIN", "off"),
        ("RATE_LIMIT_REFRESH", "off"),
        ("RATE_LIMIT_USER", "off"),
    ];
    let instances = setup.start(&settings).await;
    let one = instances.first();
    let mut statuses = BTreeMap::<_, BTreeSet<u16>>::new();
    for round in 0..12 {
        let created = one.signup(&body()).send().await.expect("a response");
        assert_eq!(created.status(), 201, "round {round}: the address is free");
        let created: Value = created.json().await.expect("JSON");
        let (session, other) = (log_in(one).await, log_in(one).await);
        let token = session["access_token"].as_str().expect("a text").to_owned();
        let as_user = |number: usize, method: Method, path: &str| {
            let service = instances.nth(number);
            let request = service.client.request(method, service.url(path));
            request.bearer_auth(&token)
        };
        let credentials = json!({
            "email": "wolpertinger@example.org",
            "password": "correct horse battery staple",
        });
        let password = json!({
            "current_password": "correct horse battery staple",
            "new_password": "another horse battery staple",
        });
        let email = json!({ "email": "elwetritsch@example.org" });
        let name = json!({ "name": "Wolpertinger II" });
        let refresh = json!({ "refresh_token": other["refresh_token"] });
        let mut requests = vec![
            ("login", one.post("/auth/login", &credentials)),
            ("login", instances.last().post("/auth/login", &credentials)),
            ("refresh", instances.last().post("/auth/refresh", &refresh)),
            (
                "profile",
                as_user(0, Method::PATCH, "/users/me").json(&name),
            ),
            (
                "profile",
                as_user(1, Method::PATCH, "/users/me").json(&name),
            ),
            (
                "password",
                as_user(1, Method::POST, "/users/me/password").json(&password),
            ),
            (
                "email",
                as_user(1, Method::POST, "/users/me/email").json(&email),
            ),
            ("export", as_user(1, Method::GET, "/users/me/export")),
            ("erase", as_user(1, Method::DELETE, "/users/me")),
        ];
        // At another time in each round.
        requests.insert(
            round % requests.len(),
            ("erase", as_user(0, Method::DELETE, "/users/me")),
        );
        let sent = requests.into_iter().map(async |(name, request)| {
            let response = request.send().await.expect("a response");
            (name, response.status().as_u16())
        });
        for (name, status) in join_all(sent).await {
            assert!(status < 500, "{name}: {status}");
            statuses.entry(name).or_default().insert(status);
        }
        // A change of the password may have ended the session that was to erase.
        let id = created["id"].as_str().expect("a text");
        let arguments = ["users", "erase", "wolpertinger@example.org", "--yes"];
        let (done, text) = command(one, &arguments);
        assert!(done || text.contains("no user"), "{text}");
        let literal = one.database.uuid_literal(id);
        for table in ["sessions", "one_time_tokens", "user_roles", "mail_queue"] {
            let rows = format!("SELECT count(*) FROM {table} WHERE user_id = {literal}");
            assert_eq!(one.database.rows(&rows).await, ["0"], "{table}");
        }
    }
    println!("{statuses:?}");
    for table in ["users", "users_read", "sessions"] {
        let rows = format!("SELECT count(*) FROM {table}");
        assert_eq!(one.database.rows(&rows).await, ["0"], "{table}");
    }
    let backend = match setup {
        Setup::Sqlite => Sqlite,
        Setup::TwoInstances => Postgres,
    };
    // The last mail has the language until it is sent.
    no_mail_waits(one).await;
    for (table, rows) in tables(one, backend).await {
        for value in PERSON.iter().chain(&["elwetritsch"]) {
            assert!(!rows.contains(value), "{value} is in {table}: {rows}");
        }
    }
    assert!(statuses["erase"].contains(&204), "{statuses:?}");
}

/// Of two administrators who erase themselves at once, one stays.
#[rstest]
#[tokio::test]
async fn two_administrators_do_not_erase_each_the_last_other(
    #[values(Setup::Sqlite, Setup::TwoInstances)] setup: Setup,
) {
    let instances = setup.start(&[]).await;
    let one = instances.first();
    let mut sessions = Vec::new();
    for name in ["ada", "bob"] {
        let email = format!("{name}@example.org");
        assert_eq!(one.sign_up(&email).await.status(), 201);
        let (done, text) = command(one, &["users", "grant", &email, "admin"]);
        assert!(done, "{text}");
        let login = one.post("/auth/login", &login_body(&email)).send().await;
        sessions.push(
            login
                .expect("a response")
                .json::<Value>()
                .await
                .expect("JSON"),
        );
    }
    let (first, second) = join(
        erase(one, &sessions[0]),
        erase(instances.last(), &sessions[1]),
    )
    .await;
    let mut statuses = [first.status().as_u16(), second.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409]);
    let left = "SELECT count(*) FROM user_roles WHERE role = 'admin'";
    assert_eq!(one.database.rows(left).await, ["1"]);
}
