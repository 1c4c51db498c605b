//! What is hashed, and what is answered without: hashing is nearly all that a signup costs.

use rstest::rstest;
use serde_json::json;

use crate::harness::{Backend, Service, problem, somebody};

/// How many hashes were made.
async fn hashes(service: &Service) -> u64 {
    let metrics = service.get("/metrics").await.text().await.expect("text");
    let count = metrics
        .lines()
        .find_map(|line| line.strip_prefix("password_hash_duration_seconds_count "));
    count.and_then(|count| count.parse().ok()).expect("a count")
}

#[rstest]
#[tokio::test]
async fn nothing_is_hashed_for_what_is_refused_or_was_answered(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let settings = [("RATE_LIMIT_SIGNUP", "4/1h")];
    let service = Service::start_with(backend, &settings).await;
    let body = somebody("ada@example.org");
    let send = async |body| {
        let request = service.signup(body).header("Idempotency-Key", "k");
        request.send().await.expect("an answer")
    };
    let invalid = json!({ "name": "", "email": "", "password": "x" });
    problem(send(&invalid).await, 422, "validation-failed").await;
    assert_eq!(hashes(&service).await, 0);
    assert_eq!(send(&body).await.status(), 201);
    assert_eq!(hashes(&service).await, 1);
    assert_eq!(send(&body).await.status(), 201);
    let other = somebody("bob@example.org");
    problem(send(&other).await, 422, "idempotency-key-reused").await;
    let refused = send(&other).await;
    assert!(refused.headers().contains_key("retry-after"));
    problem(refused, 429, "rate-limited").await;
    assert_eq!(hashes(&service).await, 1);
}

#[tokio::test]
async fn a_taken_address_costs_a_hash_too() {
    let service = Service::start(Backend::Sqlite).await;
    for status in [201, 409, 409] {
        assert_eq!(service.sign_up("ada@example.org").await.status(), status);
    }
    assert_eq!(hashes(&service).await, 3);
}

#[tokio::test]
async fn each_client_behind_a_trusted_proxy_has_its_own_share() {
    let settings = [
        ("RATE_LIMIT_SIGNUP", "1/1h"),
        ("TRUSTED_PROXIES", "127.0.0.0/8"),
    ];
    let service = Service::start_with(Backend::Sqlite, &settings).await;
    for (client, email, status) in [
        ("198.51.100.1", "ada@example.org", 201),
        ("198.51.100.2", "bob@example.org", 201),
        ("6.6.6.6, 198.51.100.2", "eve@example.org", 429),
    ] {
        let request = service.signup(&somebody(email));
        let request = request.header("X-Forwarded-For", client);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{client}");
    }
}

#[tokio::test]
async fn a_made_up_address_is_not_believed() {
    let settings = [("RATE_LIMIT_SIGNUP", "1/1h")];
    let service = Service::start_with(Backend::Sqlite, &settings).await;
    for (client, email, status) in [
        ("198.51.100.1", "ada@example.org", 201),
        ("198.51.100.2", "bob@example.org", 429),
    ] {
        let request = service.signup(&somebody(email));
        let request = request.header("X-Forwarded-For", client);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{client}");
    }
}

#[tokio::test]
async fn under_too_much_load_answers_are_replayed_and_the_rest_is_refused_early() {
    let settings = [
        ("BCRYPT_COST", "14"),
        ("BCRYPT_THREADS", "1"),
        ("BCRYPT_LANES", "1"),
        ("BCRYPT_QUEUE", "1"),
        ("REQUEST_TIMEOUT_MS", "60000"),
    ];
    let service = Service::start_with(Backend::Sqlite, &settings).await;
    let ada = somebody("ada@example.org");
    let send = |key: &str, body| service.signup(body).header("Idempotency-Key", key).send();
    let first = send("k", &ada).await.expect("an answer");
    assert_eq!(first.status(), 201);
    // One is hashed, and one waits.
    let (bob, eve) = (somebody("bob@example.org"), somebody("eve@example.org"));
    let running = tokio::spawn(send("bob", &bob));
    service
        .wait_for_metric("password_hash_lanes_in_use 1")
        .await;
    let waiting = tokio::spawn(send("eve", &eve));
    service.wait_for_metric("password_hash_queue_depth 1").await;

    let again = send("k", &ada).await.expect("an answer");
    assert_eq!(again.status(), 201);
    assert!(again.headers().contains_key("idempotent-replayed"));
    // Nobody asks whether it is guessable.
    let guessable = json!({ "name": "A", "email": "a@example.org", "password": "password" });
    let refused = send("a", &guessable).await.expect("an answer");
    assert!(refused.headers().contains_key("retry-after"));
    problem(refused, 503, "overloaded").await;
    service
        .wait_for_metric(r#"password_hash_rejected_total{reason="early"} 1"#)
        .await;
    for signup in [running, waiting] {
        let answer = signup.await.expect("no panic").expect("an answer");
        assert_eq!(answer.status(), 201);
    }
    let guessable = send("a", &guessable).await.expect("an answer");
    problem(guessable, 422, "validation-failed").await;
}

/// Where a proxy appends to `X-Forwarded-For`, a client in its network is no proxy.
#[tokio::test]
async fn a_client_among_the_trusted_proxies_does_not_choose_its_address() {
    let limit = ("RATE_LIMIT_SIGNUP", "3/1m");
    let proxies = ("TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8");
    for (hops, named, admitted) in [
        ("1", "10.0.0.9", 3),
        ("2", "10.0.0.9, 10.0.0.2", 3),
        // Behind two proxies it is whom the first of them names.
        ("2", "10.0.0.2", 6),
    ] {
        let settings = [limit, proxies, ("TRUSTED_PROXY_HOPS", hops)];
        let service = Service::start_with(Backend::Sqlite, &settings).await;
        let mut taken = 0;
        for number in 0..6 {
            let request = service.signup(&somebody(&format!("u{number}@example.org")));
            let request = request.header("X-Forwarded-For", format!("192.0.2.{number}, {named}"));
            let answer = request.send().await.expect("an answer");
            taken += usize::from(answer.status() == 201);
        }
        assert_eq!(taken, admitted, "{hops} {named}");
    }
}

/// All that a site has of IPv6 is not as many clients as it has networks.
#[tokio::test]
async fn an_ipv6_site_has_a_limit_of_its_own() {
    let settings = [
        ("RATE_LIMIT_SIGNUP", "1/1m"),
        ("TRUSTED_PROXIES", "127.0.0.0/8"),
    ];
    let service = Service::start_with(Backend::Sqlite, &settings).await;
    let mut taken = 0;
    for number in 0..40 {
        let request = service.signup(&somebody(&format!("u{number}@example.org")));
        // A network of 56 bits each.
        let client = format!("2001:db8:1:{number:x}00::1");
        let request = request.header("X-Forwarded-For", client);
        let answer = request.send().await.expect("an answer");
        taken += usize::from(answer.status() == 201);
    }
    assert_eq!(taken, 16);
}
