//! The use of Redis for signups, and that no failure of Redis changes a response (C22).

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rstest::rstest;
use serde_json::{Value, json};
use throwaway_servers::redis;

use crate::harness::{Backend, Database, Service, problem, signup_body};
use crate::idempotency::{Snapshot, is_replay, snapshot};
use crate::signup::lock_out;

/// A failure of Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// No server listens.
    Down,
    /// It ends while the service runs.
    Killed,
    /// It accepts connections and commands, and never replies.
    Paused,
    /// It loses all data, again and again.
    Emptied,
    ReadOnly,
    OutOfMemory,
    /// It requires a password.
    Locked,
    /// Another program listens there, and writes.
    Nonsense,
    /// Its values are not what was stored.
    Garbled,
    /// Every key has an eternal lease without an owner.
    LeasedForEver,
}

impl Fault {
    /// Whether the circuit breaker opens because of it.
    fn opens_breaker(self) -> bool {
        !matches!(
            self,
            Self::Emptied | Self::Nonsense | Self::Garbled | Self::LeasedForEver
        )
    }

    /// Applies the fault before the service starts.
    fn begin(self, server: &redis::Server) {
        if self == Self::Down {
            server.kill();
        }
    }

    /// Applies the fault between two requests.
    fn strike(self, server: &redis::Server, number: u32) {
        match self {
            Self::Killed if number == 1 => server.kill(),
            Self::Paused if number == 1 => server.signal("STOP"),
            Self::Down | Self::Nonsense | Self::Killed | Self::Paused => {}
            Self::Emptied => drop(server.command(&["FLUSHALL"])),
            Self::ReadOnly => drop(server.command(&["REPLICAOF", "127.0.0.1", "1"])),
            Self::OutOfMemory => drop(server.command(&["CONFIG", "SET", "maxmemory", "1"])),
            Self::Locked => {
                // Existing connections would stay authenticated.
                server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
                server.command(&["CONFIG", "SET", "requirepass", "x"]);
            }
            Self::Garbled => garble(server, "Ononsense of a certain length, at least a nonce's"),
            Self::LeasedForEver => garble(server, "Lnonsense"),
        }
    }
}

/// Replaces every value.
fn garble(server: &redis::Server, value: &str) {
    for key in server.command(&["KEYS", "*"]).lines() {
        server.command(&["SET", key, value]);
    }
}

/// Starts a server that reads and replies with nonsense.
fn nonsense_server() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut buffer = [0; 1024];
                for reply in [
                    "+OK\r\n",
                    "$5\r\nLeave\r\n",
                    ":1\r\n",
                    "what?\r\n",
                    "*1\r\n",
                ]
                .iter()
                .cycle()
                {
                    let read = stream.read(&mut buffer).unwrap_or(0);
                    if read == 0 || stream.write_all(reply.as_bytes()).is_err() {
                        break;
                    }
                }
            });
        }
    });
    address
}

fn own_server() -> &'static redis::Server {
    Box::leak(Box::new(redis::Server::start().expect("Redis starts")))
}

/// Two instances on one PostgreSQL and this Redis.
async fn two_instances(url: &str, settings: &[(&str, &str)]) -> [Service; 2] {
    let database = Arc::new(Database::new(Backend::Postgres));
    let mut settings = settings.to_vec();
    settings.push(("REDIS_URL", url));
    let start = || Service::start_on(Arc::clone(&database), &settings);
    [start().await, start().await]
}

async fn send(service: &Service, key: &str, body: &Value) -> reqwest::Response {
    let request = service.signup(body).header("Idempotency-Key", key);
    request.send().await.expect("a response")
}

#[rstest]
#[tokio::test]
async fn c22_nothing_changes_but_speed(
    #[values(
        Fault::Down,
        Fault::Killed,
        Fault::Paused,
        Fault::Emptied,
        Fault::ReadOnly,
        Fault::OutOfMemory,
        Fault::Locked,
        Fault::Nonsense,
        Fault::Garbled,
        Fault::LeasedForEver
    )]
    fault: Fault,
) {
    const MAX_TIME: Duration = Duration::from_secs(5);
    let server = own_server();
    fault.begin(server);
    let url = match fault {
        Fault::Nonsense => format!("redis://{}/0", nonsense_server()),
        _ => server.url(),
    };
    let services = two_instances(&url, &[]).await;
    for round in 0..3 {
        let ada = signup_body(&format!("ada{round}@example.org"));
        let mut eva = ada.clone();
        eva["name"] = json!("Eva Lovelace");
        let (key, other_key) = (format!("key-{round}"), format!("other-{round}"));
        let mut firsts: BTreeMap<&str, Snapshot> = BTreeMap::new();
        for (number, (key, body, status, replayed)) in (0..).zip([
            (&key, &ada, 201, false),
            (&key, &ada, 201, true),
            (&key, &eva, 422, false),
            (&key, &ada, 201, true),
            (&other_key, &ada, 409, false),
            (&other_key, &ada, 409, true),
        ]) {
            fault.strike(server, round * 10 + number);
            let begun = Instant::now();
            let response = send(&services[usize::from(number % 2 == 1)], key, body).await;
            assert!(begun.elapsed() < MAX_TIME, "{:?}", begun.elapsed());
            assert_eq!(is_replay(&response), replayed, "{round} {number}");
            let response = snapshot(response).await;
            assert_eq!(response.status, status, "{round} {number}");
            if status != 422 {
                let first = firsts.entry(key).or_insert_with(|| response.clone());
                assert_eq!(response, *first);
            }
        }
        let bob = signup_body(&format!("bob{round}@example.org"));
        let key = format!("at-once-{round}");
        let at_once = (0..6).map(|number| send(&services[number % 2], &key, &bob));
        let responses = join_all(join_all(at_once).await.into_iter().map(snapshot)).await;
        assert_eq!(responses[0].status, 201);
        assert!(responses.iter().all(|response| *response == responses[0]));
    }
    assert_eq!(services[0].database.counts().await, [6; 3]);
    if fault.opens_breaker() {
        for service in &services {
            service
                .wait_for_metric(r#"circuit_breaker_open{dependency="redis"} 1"#)
                .await;
        }
    }
    if fault == Fault::Paused {
        server.signal("CONT");
    }
}

#[tokio::test]
async fn a_retry_is_replayed_from_redis_on_any_instance() {
    let redis = redis::server().database();
    let services = two_instances(&redis.url(), &[]).await;
    let body = signup_body("ada@example.org");
    let first = snapshot(send(&services[0], "k", &body).await).await;
    wait_for_values(&redis, 'O', 1).await;
    let again = send(&services[1], "k", &body).await;
    assert!(is_replay(&again));
    assert_eq!(snapshot(again).await, first);
    services[1]
        .wait_for_metric(r#"idempotency_replays_total{tier="redis"} 1"#)
        .await;
}

/// Waits until Redis holds this many values with this first byte: `L` for a lease, `O` for an outcome.
async fn wait_for_values(redis: &redis::Database, kind: char, count: usize) {
    let begun = Instant::now();
    let found = || {
        let keys = redis.command(&["KEYS", "signup:idempotency:*"]);
        let has_kind = |key: &&str| redis.command(&["GET", key]).starts_with(kind);
        keys.lines().filter(has_kind).count()
    };
    while found() != count {
        assert!(
            begun.elapsed().as_secs() < 30,
            "timed out waiting for {kind}"
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_instance_waits_for_the_other_instead_of_hashing() {
    let redis = redis::server().database();
    let services = two_instances(&redis.url(), &[]).await;
    // A Redis that takes 50 ms, on a busy machine, is left out: then its own transaction finds the record.
    for key in ["k", "l", "m", "n"] {
        let body = signup_body(&format!("{key}@example.org"));
        let lock = lock_out(&services[0], Backend::Postgres).await;
        let first = services[0].signup(&body).header("Idempotency-Key", key);
        let first = tokio::spawn(first.send());
        wait_for_values(&redis, 'L', 1).await;
        let second = services[1].signup(&body).header("Idempotency-Key", key);
        let second = tokio::spawn(second.send());
        services[1]
            .wait_for_metric("idempotency_keys_in_flight 1")
            .await;
        drop(lock);
        let first = first.await.expect("no panic").expect("a response");
        let second = second.await.expect("no panic").expect("a response");
        assert!(!is_replay(&first) && is_replay(&second));
        assert_eq!(snapshot(first).await, snapshot(second).await);
        let metrics = services[1].get("/metrics").await.text().await;
        let waited = "idempotency_replays_total{tier=\"redis\"} 1";
        if metrics.expect("text").lines().any(|line| line == waited) {
            return;
        }
    }
    panic!("it never waited");
}

#[tokio::test]
async fn a_lease_whose_owner_was_killed_ends_by_itself() {
    let redis = redis::server().database();
    let settings = [("REQUEST_TIMEOUT_MS", "3000")];
    let mut services = two_instances(&redis.url(), &settings).await;
    let body = signup_body("ada@example.org");
    let lock = lock_out(&services[0], Backend::Postgres).await;
    let first = services[0].signup(&body).header("Idempotency-Key", "k");
    let first = tokio::spawn(first.send());
    wait_for_values(&redis, 'L', 1).await;
    services[0].signal("KILL");
    services[0].wait().await;
    drop(lock);
    assert!(first.await.expect("no panic").is_err(), "it was killed");
    let begun = Instant::now();
    loop {
        let response = send(&services[1], "k", &body).await;
        if response.status() == 201 {
            break;
        }
        problem(response, 409, "request-in-progress").await;
        assert!(begun.elapsed().as_secs() < 10, "the lease never ended");
    }
    assert_eq!(services[1].database.counts().await, [1; 3]);
}

#[tokio::test]
async fn a_lease_is_released_after_a_refusal() {
    let redis = redis::server().database();
    let url = redis.url();
    let settings = [
        ("REDIS_URL", &*url),
        // Much longer than the test waits.
        ("REQUEST_TIMEOUT_MS", "120000"),
        ("BCRYPT_COST", "14"),
        ("BCRYPT_THREADS", "1"),
        ("BCRYPT_LANES", "1"),
        ("BCRYPT_QUEUE", "1"),
    ];
    let service = Service::start_with(Backend::Sqlite, &settings).await;
    let mut others = Vec::new();
    for (email, metric) in [
        ("bob@example.org", "password_hash_lanes_in_use 1"),
        ("eve@example.org", "password_hash_queue_depth 1"),
    ] {
        others.push(tokio::spawn(service.signup(&signup_body(email)).send()));
        service.wait_for_metric(metric).await;
    }
    let refused = send(&service, "k", &signup_body("ada@example.org")).await;
    problem(refused, 503, "overloaded").await;
    wait_for_values(&redis, 'L', 0).await;
    for other in others {
        let response = other.await.expect("no panic").expect("a response");
        assert_eq!(response.status(), 201);
    }
}

#[tokio::test]
async fn only_its_owner_releases_a_lease() {
    let redis = redis::server().database();
    let settings = [("REQUEST_TIMEOUT_MS", "2000")];
    let services = two_instances(&redis.url(), &settings).await;
    let lock = lock_out(&services[0], Backend::Postgres).await;
    let body = signup_body("ada@example.org");
    let first = services[0].signup(&body).header("Idempotency-Key", "k");
    let first = tokio::spawn(first.send());
    wait_for_values(&redis, 'L', 1).await;
    let name = redis.command(&["KEYS", "signup:idempotency:*"]);
    redis.command(&["SET", &name, "of another"]);
    let first = first.await.expect("no panic").expect("a response");
    problem(first, 503, "unavailable").await;
    // After another signup, the commands of the first have reached Redis.
    drop(lock);
    let other = signup_body("bob@example.org");
    assert_eq!(send(&services[0], "other", &other).await.status(), 201);
    assert_eq!(redis.command(&["GET", &name]), "of another");
}

/// The name of a key's entry in Redis.
async fn name_of(key: &str) -> String {
    let redis = redis::server().database();
    let services = two_instances(&redis.url(), &[]).await;
    let body = signup_body("ada@example.org");
    assert_eq!(send(&services[0], key, &body).await.status(), 201);
    redis.command(&["KEYS", "signup:idempotency:*"])
}

/// Stores a lease that ends at this time in microseconds since 1970.
fn lease(redis: &redis::Database, name: &str, end: i64) {
    let set = "redis.call('SET', KEYS[1], 'L' .. struct.pack('>i8', ARGV[1]) .. 'a token of 16 b')";
    redis.command(&["EVAL", set, "1", name, &end.to_string()]);
}

fn micros_from_now(seconds: i64) -> i64 {
    let now = std::time::UNIX_EPOCH.elapsed().expect("after 1970");
    i64::try_from(now.as_micros()).expect("not that late") + seconds * 1_000_000
}

#[rstest]
#[case::past(micros_from_now(-60))]
#[case::too_far(micros_from_now(3600))]
#[case::the_last_date(8_210_266_876_799_000_000)]
#[case::no_date(i64::MAX)]
#[case::negative(i64::MIN)]
#[tokio::test]
async fn an_impossible_lease_is_ignored(#[case] end: i64) {
    let name = name_of("k").await;
    let redis = redis::server().database();
    let services = two_instances(&redis.url(), &[]).await;
    lease(&redis, &name, end);
    let begun = Instant::now();
    let first = send(&services[0], "k", &signup_body("ada@example.org")).await;
    assert_eq!(first.status(), 201);
    let waited = begun.elapsed();
    assert!(waited < Duration::from_millis(1500), "it waited {waited:?}");
    assert!(!services[0].log_text().contains("panic"));
}

#[tokio::test]
async fn a_record_takes_precedence_over_a_lease() {
    let name = name_of("k").await;
    let redis = redis::server().database();
    let services = two_instances(&redis.url(), &[]).await;
    let body = signup_body("ada@example.org");
    let first = snapshot(send(&services[0], "k", &body).await).await;
    lease(&redis, &name, micros_from_now(8));
    let again = send(&services[1], "k", &body).await;
    assert!(is_replay(&again));
    assert_eq!(snapshot(again).await, first);
}

#[tokio::test]
async fn an_exhausted_key_stays_exhausted_while_the_secret_is_rotated() {
    const OLD: &str = "the old secret of thirty-two bytes";
    const NEW: &str = "the new secret of thirty-two bytes";
    let (redis, database) = (redis::server().database(), Database::new(Backend::Postgres));
    let (url, database) = (redis.url(), Arc::new(database));
    let settings = |secret, previous| {
        [
            ("REDIS_URL", &*url),
            ("IDEMPOTENCY_SECRET", secret),
            ("IDEMPOTENCY_SECRET_PREVIOUS", previous),
        ]
    };
    // Consecutive steps of a rotation, side by side.
    for (number, pair) in [
        [(OLD, ""), (OLD, NEW)],
        [(OLD, NEW), (NEW, OLD)],
        [(NEW, OLD), (NEW, "")],
    ]
    .into_iter()
    .enumerate()
    {
        let [a, b] = pair.map(|(secret, previous)| settings(secret, previous));
        let a = Service::start_on(Arc::clone(&database), &a).await;
        let b = Service::start_on(Arc::clone(&database), &b).await;
        // The names of some keys are in one order, those of others in the reverse order.
        for (at, (first, other)) in [(&a, &b), (&b, &a), (&a, &b), (&b, &a)]
            .into_iter()
            .enumerate()
        {
            let key = format!("key-{number}-{at}");
            let body = signup_body(&format!("ada{number}{at}@example.org"));
            assert_eq!(send(first, &key, &body).await.status(), 201);
            wait_for_values(&redis, 'O', 1).await;
            for guess in 0..11 {
                let mut wrong = body.clone();
                wrong["password"] = json!(format!("another horse battery {guess}"));
                let status = send(other, &key, &wrong).await.status();
                assert_eq!(status, if guess < 10 { 422 } else { 429 });
            }
            for service in [first, other] {
                assert_eq!(send(service, &key, &body).await.status(), 429, "{key}");
            }
        }
    }
}

#[tokio::test]
async fn a_mismatch_removes_the_outcome_from_redis() {
    let redis = redis::server().database();
    let services = two_instances(&redis.url(), &[]).await;
    let body = signup_body("ada@example.org");
    let mut other = body.clone();
    other["name"] = json!("Bob");
    assert_eq!(send(&services[0], "k", &body).await.status(), 201);
    wait_for_values(&redis, 'O', 1).await;
    problem(
        send(&services[1], "k", &other).await,
        422,
        "idempotency-key-reused",
    )
    .await;
    wait_for_values(&redis, 'O', 0).await;
    assert!(is_replay(&send(&services[0], "k", &body).await));
}

#[tokio::test]
async fn a_failing_redis_is_bypassed_until_it_recovers() {
    let server = own_server();
    let settings = [("REDIS_URL", &*server.url())];
    let mut service = Service::start_with(Backend::Sqlite, &settings).await;
    service
        .wait_for_metric(r#"circuit_breaker_open{dependency="redis"} 0"#)
        .await;
    server.kill();
    for number in 0..4 {
        let body = signup_body(&format!("ada{number}@example.org"));
        let response = send(&service, &format!("k{number}"), &body).await;
        assert_eq!(response.status(), 201);
    }
    service
        .wait_for_line("redis unavailable, continuing without it")
        .await;
    let ready: Value = service.get("/ready").await.json().await.expect("JSON");
    assert_eq!(ready["status"], "ready", "{ready}");
    assert_eq!(ready["checks"]["redis"]["status"], "degraded", "{ready}");
    server.restart();
    service
        .wait_for_metric(r#"circuit_breaker_open{dependency="redis"} 0"#)
        .await;
    let ready: Value = service.get("/ready").await.json().await.expect("JSON");
    assert_eq!(ready["checks"]["redis"]["status"], "ok", "{ready}");
    assert_eq!(
        send(&service, "well", &signup_body("well@example.org"))
            .await
            .status(),
        201
    );
    let keys = server.command(&["KEYS", "signup:idempotency:*"]);
    assert!(!keys.is_empty());
}

#[tokio::test]
async fn a_forged_lease_does_not_delay_a_completed_key() {
    let redis = redis::server().database();
    let url = redis.url();
    let settings = [("REDIS_URL", url.as_str())];
    let service = Service::start_with(Backend::Postgres, &settings).await;
    let body = signup_body("ada@example.org");
    let send = async || {
        let request = service.signup(&body).header("Idempotency-Key", "k");
        request.send().await.expect("a response")
    };
    let first = snapshot(send().await).await;
    assert_eq!(first.status, 201);
    // A lease with some seconds left.
    let forge = "local now = redis.call('TIME') \
                 local value = 'L' .. struct.pack('>I8', (now[1] + 8) * 1000000) .. 'nobody' \
                 local names = redis.call('KEYS', 'signup:idempotency:*') \
                 for _, name in ipairs(names) do redis.call('SET', name, value) end \
                 return #names";
    while redis.command(&["EVAL", forge, "0"]) != "1" {
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    let again = send().await;
    assert!(is_replay(&again));
    assert_eq!(snapshot(again).await, first);
    let waited = begun.elapsed();
    assert!(waited < Duration::from_millis(1500), "it waited {waited:?}");
}
