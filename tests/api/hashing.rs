//! Which requests are hashed, and fairness between clients: hashing is nearly the whole cost of a signup.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use load_generator::{Connection, Target, Times, closed_loop, leaving_loop};
use rstest::rstest;
use serde_json::json;

use crate::harness::{Backend, Service, login_body, problem, signup_body};

/// Without the limits of a client and a session.
const UNLIMITED: &[(&str, &str)] = &[("RATE_LIMIT_LOGIN", "off"), ("RATE_LIMIT_REFRESH", "off")];

/// The number of hashes computed.
async fn hashes(service: &Service) -> u64 {
    let metrics = service.get("/metrics").await.text().await.expect("text");
    let count = metrics
        .lines()
        .find_map(|line| line.strip_prefix("password_hash_duration_seconds_count "));
    count.and_then(|count| count.parse().ok()).expect("a count")
}

#[rstest]
#[tokio::test]
async fn refused_and_replayed_signups_are_not_hashed(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let settings = [("RATE_LIMIT_SIGNUP", "4/1h")];
    let service = Service::start_with(backend, &settings).await;
    let body = signup_body("ada@example.org");
    let send = async |body| {
        let request = service.signup(body).header("Idempotency-Key", "k");
        request.send().await.expect("a response")
    };
    let invalid = json!({ "name": "", "email": "", "password": "x" });
    problem(send(&invalid).await, 422, "validation-failed").await;
    assert_eq!(hashes(&service).await, 0);
    assert_eq!(send(&body).await.status(), 201);
    assert_eq!(hashes(&service).await, 1);
    assert_eq!(send(&body).await.status(), 201);
    let other = signup_body("bob@example.org");
    problem(send(&other).await, 422, "idempotency-key-reused").await;
    let refused = send(&other).await;
    assert!(refused.headers().contains_key("retry-after"));
    problem(refused, 429, "rate-limited").await;
    assert_eq!(hashes(&service).await, 1);
}

/// Guarantee P3.
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
        let request = service.signup(&signup_body(email));
        let request = request.header("X-Forwarded-For", client);
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), status, "{client}");
    }
}

#[tokio::test]
async fn a_forged_forwarded_address_is_ignored() {
    let settings = [("RATE_LIMIT_SIGNUP", "1/1h")];
    let service = Service::start_with(Backend::Sqlite, &settings).await;
    for (client, email, status) in [
        ("198.51.100.1", "ada@example.org", 201),
        ("198.51.100.2", "bob@example.org", 429),
    ] {
        let request = service.signup(&signup_body(email));
        let request = request.header("X-Forwarded-For", client);
        let response = request.send().await.expect("a response");
        assert_eq!(response.status(), status, "{client}");
    }
}

#[tokio::test]
async fn beyond_loopback_each_client_has_a_limit_unless_it_is_switched_off() {
    const WARNING: &str = "RATE_LIMIT_SIGNUP is off, and HOST is not a loopback address: \
        one client may send any number of signups";
    let statuses = async |service: &Service| {
        let mut statuses = Vec::new();
        for _ in 0..21 {
            let response = service.signup(&json!({})).send().await.expect("a response");
            statuses.push(response.status().as_u16());
        }
        statuses
    };
    let warned = |service: &Service| service.log_text().contains(WARNING);
    let everywhere = ("HOST", "0.0.0.0");
    let limited = Service::start_with(Backend::Sqlite, &[everywhere]).await;
    assert_eq!(
        statuses(&limited).await,
        [vec![422; 20], vec![429]].concat()
    );
    assert!(!warned(&limited));
    let off = [everywhere, ("RATE_LIMIT_SIGNUP", "off")];
    let off = Service::start_with(Backend::Sqlite, &off).await;
    assert_eq!(statuses(&off).await, [422; 21]);
    assert!(warned(&off));
    let on_loopback = Service::start(Backend::Sqlite).await;
    assert_eq!(statuses(&on_loopback).await, [422; 21]);
    assert!(!warned(&on_loopback));
}

#[tokio::test]
async fn under_overload_replays_are_served_and_other_signups_refused_early() {
    let settings = [
        ("BCRYPT_COST", "14"),
        ("BCRYPT_THREADS", "1"),
        ("BCRYPT_LANES", "1"),
        ("BCRYPT_QUEUE", "1"),
        ("REQUEST_TIMEOUT_MS", "60000"),
    ];
    let service = Service::start_with(Backend::Sqlite, &settings).await;
    let ada = signup_body("ada@example.org");
    let send = |key: &str, body| service.signup(body).header("Idempotency-Key", key).send();
    let first = send("k", &ada).await.expect("a response");
    assert_eq!(first.status(), 201);
    // One password is hashed, and one waits.
    let (bob, eve) = (
        signup_body("bob@example.org"),
        signup_body("eve@example.org"),
    );
    let running = tokio::spawn(send("bob", &bob));
    service
        .wait_for_metric("password_hash_lanes_in_use 1")
        .await;
    let waiting = tokio::spawn(send("eve", &eve));
    service.wait_for_metric("password_hash_queue_depth 1").await;

    let again = send("k", &ada).await.expect("a response");
    assert_eq!(again.status(), 201);
    assert!(again.headers().contains_key("idempotent-replayed"));
    // Its strength is not checked.
    let guessable = json!({ "name": "A", "email": "a@example.org", "password": "zzzzzzzzzzzz" });
    let refused = send("a", &guessable).await.expect("a response");
    assert!(refused.headers().contains_key("retry-after"));
    problem(refused, 503, "overloaded").await;
    service
        .wait_for_metric(r#"password_hash_rejected_total{reason="early"} 1"#)
        .await;
    for signup in [running, waiting] {
        let response = signup.await.expect("no panic").expect("a response");
        assert_eq!(response.status(), 201);
    }
    let guessable = send("a", &guessable).await.expect("a response");
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
        // Behind two proxies, the first of them names the client.
        ("2", "10.0.0.2", 6),
    ] {
        let settings = [limit, proxies, ("TRUSTED_PROXY_HOPS", hops)];
        let service = Service::start_with(Backend::Sqlite, &settings).await;
        let mut taken = 0;
        for number in 0..6 {
            let request = service.signup(&signup_body(&format!("u{number}@example.org")));
            let request = request.header("X-Forwarded-For", format!("192.0.2.{number}, {named}"));
            let response = request.send().await.expect("a response");
            taken += usize::from(response.status() == 201);
        }
        assert_eq!(taken, admitted, "{hops} {named}");
    }
}

/// The networks of an IPv6 site share a limit, so that they do not count as separate clients.
#[tokio::test]
async fn an_ipv6_site_has_a_limit_of_its_own() {
    let settings = [
        ("RATE_LIMIT_SIGNUP", "1/1m"),
        ("TRUSTED_PROXIES", "127.0.0.0/8"),
    ];
    let service = Service::start_with(Backend::Sqlite, &settings).await;
    let mut taken = 0;
    for number in 0..40 {
        let request = service.signup(&signup_body(&format!("u{number}@example.org")));
        // A network of 56 bits each.
        let client = format!("2001:db8:1:{number:x}00::1");
        let request = request.header("X-Forwarded-For", client);
        let response = request.send().await.expect("a response");
        taken += usize::from(response.status() == 201);
    }
    assert_eq!(taken, 16);
}

#[rstest]
#[tokio::test]
async fn a_guessable_password_is_detected_by_the_hashing_threads(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let service = Service::start(backend).await;
    let send = async |email: &str, password: &str| {
        let body = json!({ "name": "Test User", "email": email, "password": password });
        let request = service.signup(&body).header("Idempotency-Key", "k");
        request.send().await.expect("a response")
    };
    let codes = async |email: &str, password: &str| -> Vec<String> {
        let problem = problem(send(email, password).await, 422, "validation-failed").await;
        let errors = problem["errors"].as_array().expect("fields").iter();
        errors.map(|error| error["code"].to_string()).collect()
    };
    // Another field is invalid: the slow check is skipped.
    let guessable = "z".repeat(12);
    assert_eq!(codes("nobody", &guessable).await, ["\"invalid_email\""]);
    let both = codes("nobody", "drPepper").await;
    assert_eq!(both, ["\"invalid_email\"", "\"common\""]);
    let waited = "password_hash_wait_seconds_count";
    service.wait_for_metric(&format!("{waited} 0")).await;
    let found = codes("test@example.com", &guessable).await;
    assert_eq!(found, ["\"too_guessable\""]);
    service.wait_for_metric(&format!("{waited} 1")).await;
    assert_eq!(
        hashes(&service).await,
        0,
        "it used a lane, but was not hashed"
    );
    assert_eq!(service.database.counts().await, [0, 0, 0]);
    // Nothing was stored under the key.
    assert_eq!(send("test@example.com", "Test123!").await.status(), 201);
    assert_eq!(service.database.counts().await, [1, 1, 1]);
}

/// The behaviour of dishonest clients.
#[derive(Debug, Clone, Copy)]
enum Crowd {
    /// 48 connections that retry at once, whatever the response.
    Impatient,
    /// 40 clients that disconnect before they get a response.
    Leaving,
}

impl Crowd {
    /// Sends requests until stopped.
    async fn run(self, target: Target, stop: tokio::sync::oneshot::Receiver<()>) {
        const LIMIT: Duration = Duration::from_mins(2);
        let make = signups(&target, "crowd".to_owned());
        let load = async {
            match self {
                Self::Impatient => {
                    closed_loop(&target, 48, Times::seconds(LIMIT.as_secs()), make).await;
                }
                Self::Leaving => {
                    leaving_loop(&target, 40, Duration::from_millis(20), LIMIT, make).await;
                }
            }
        };
        tokio::select! {
            () = load => {}
            _ = stop => {}
        }
    }

    /// The metric that shows the presence of the crowd.
    const fn seen_in(self) -> &'static str {
        match self {
            Self::Impatient => r#"password_hash_rejected_total{reason="early"} "#,
            Self::Leaving => "password_hash_wait_seconds_count ",
        }
    }
}

/// Builds signups of different users.
fn signups(target: &Target, prefix: String) -> impl Fn(u64) -> Vec<u8> + use<> {
    let target = target.clone();
    move |number| {
        let body = signup_body(&format!("{prefix}.{number}@example.org"));
        let key = format!("Idempotency-Key: {prefix}-{number}");
        target.post("application/json", &[key], &body.to_string())
    }
}

/// Guarantee L2.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_from_one_network_does_not_shut_out_others(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
    #[values(Crowd::Impatient, Crowd::Leaving)] crowd: Crowd,
) {
    // One crowd at a time: they would take the cores from each other and from other tests.
    static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _alone = ALONE.lock().await;
    let settings = [
        // So that hashing is the bottleneck, and not the database.
        ("BCRYPT_COST", "10"),
        ("BCRYPT_THREADS", "1"),
        ("BCRYPT_LANES", "4"),
        ("BCRYPT_QUEUE", "24"),
        ("BCRYPT_NICE", "10"),
        // Long, so that a busy machine does not affect the result.
        ("REQUEST_TIMEOUT_MS", "60000"),
    ];
    let service = Service::start_with(backend, &settings).await;
    let target = Target::parse(&service.url("/signup")).expect("a URL");
    // Each address of the loopback is a network of its own.
    let from = |network: u8| target.from(IpAddr::from(Ipv4Addr::new(127, 0, 1, network)));
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let crowded = from(100);
    let load = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(crowd.run(crowded, stopped));
    });
    service
        .wait_for_figure(crowd.seen_in(), |count| count >= 1.0)
        .await;

    // One at a time is never more than a share.
    let honest = (1..=16).map(|network| {
        let honest = from(network);
        async move {
            let make = signups(&honest, format!("honest{network}"));
            for number in 0..2 {
                // Hashing must refuse no client; a slow database on a busy machine may.
                for retries in 0..20 {
                    let mut connection = Connection::open(&honest).await.expect("a connection");
                    let response = connection.send(&make(number)).await.expect("a response");
                    let body = String::from_utf8_lossy(&response.body).into_owned();
                    let is_late = response.status == 503 && body.contains("/problems/unavailable");
                    if !is_late || retries == 19 {
                        assert_eq!(response.status, 201, "{network}, {number}: {body}");
                        break;
                    }
                }
            }
        }
    });
    futures_util::future::join_all(honest).await;
    drop(stop);
    load.join().expect("no panic");
}

/// The stored hashes, up to and with their cost.
const COSTS: &str = "SELECT substr(password_hash, 1, 27) FROM users";

/// Guarantee S8.
#[rstest]
#[tokio::test]
async fn a_login_raises_the_cost_of_an_old_hash(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let mut before = Service::start(backend).await;
    assert_eq!(before.sign_up("ada@example.org").await.status(), 201);
    before.signal("TERM");
    assert!(before.wait().await.success());
    let database = Arc::clone(&before.database);
    assert_eq!(database.rows(COSTS).await, ["$bcrypt-sha256$v=2,t=2b,r=4"]);
    let settings = [("BCRYPT_COST", "6")];
    let after = Service::start_on(Arc::clone(&database), &settings).await;
    let wrong = json!({ "email": "ada@example.org", "password": "wrong" });
    let log_in = async |body| {
        let response = after.post("/auth/login", body).send().await;
        response.expect("a response").status().as_u16()
    };
    assert_eq!(log_in(&wrong).await, 401);
    let right = login_body("ada@example.org");
    assert_eq!(log_in(&right).await, 200);
    let done = r#"password_hashed_again_total{outcome="done"} 1"#;
    after.wait_for_metric(done).await;
    assert_eq!(database.rows(COSTS).await, ["$bcrypt-sha256$v=2,t=2b,r=6"]);
    assert_eq!(log_in(&right).await, 200);
    assert_eq!(log_in(&wrong).await, 401);
    // A lower setting does not lower it: both may run side by side.
    let mut lower = Service::start_on(Arc::clone(&database), &[]).await;
    let response = lower.post("/auth/login", &right).send().await;
    assert_eq!(response.expect("a response").status(), 200);
    lower.signal("TERM");
    assert!(lower.wait().await.success(), "its tasks have ended");
    assert_eq!(database.rows(COSTS).await, ["$bcrypt-sha256$v=2,t=2b,r=6"]);
}

/// A login may verify a hash that another one replaces: its password is as right as before.
///
/// Guarantee S8.
#[tokio::test]
async fn logins_beside_one_that_hashes_again_succeed() {
    let first = Service::start_with(Backend::Postgres, UNLIMITED).await;
    let device = first.logged_in("ada@example.org").await["device_token"].clone();
    let database = Arc::clone(&first.database);
    for cost in ["5", "6", "7"] {
        let settings = [UNLIMITED, &[("BCRYPT_COST", cost)]].concat();
        let next = Service::start_on(Arc::clone(&database), &settings).await;
        let logins = (0..10).map(|number| {
            let mut body = login_body("ada@example.org");
            if number % 2 == 0 {
                body["device_token"] = device.clone();
            }
            let service = if number % 3 == 0 { &first } else { &next };
            service.post("/auth/login", &body).send()
        });
        for response in join_all(logins).await {
            assert_eq!(response.expect("a response").status(), 200);
        }
        let done = r#"password_hashed_again_total{outcome="done"} 1"#;
        next.wait_for_metric(done).await;
    }
}
