//! What Redis does for signups, and that nothing it does changes an answer (C22).

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rstest::rstest;
use serde_json::{Value, json};
use throwaway_servers::redis;

use crate::harness::{Backend, Database, Service, problem, somebody};
use crate::idempotency::{Whole, is_replay, whole};
use crate::signup::lock_out;

/// What can be wrong with Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Nobody listens.
    Down,
    /// It ends while the service runs.
    Killed,
    /// It takes connections and questions, and answers none.
    Paused,
    /// It forgets everything, again and again.
    Emptied,
    ReadOnly,
    OutOfMemory,
    /// It asks for a password.
    Locked,
    /// Something else listens there, and talks.
    Nonsense,
    /// Its values are not what was put in.
    Garbled,
    /// Every key is leased for ever, by nobody.
    LeasedForEver,
}

impl Trouble {
    /// Before the service starts.
    fn begin(self, server: &redis::Server) {
        if self == Self::Down {
            server.kill();
        }
    }

    /// Between two requests.
    fn strike(self, server: &redis::Server, number: u32) {
        match self {
            Self::Killed if number == 1 => server.kill(),
            Self::Paused if number == 1 => server.signal("STOP"),
            Self::Down | Self::Nonsense | Self::Killed | Self::Paused => {}
            Self::Emptied => drop(server.command(&["FLUSHALL"])),
            Self::ReadOnly => drop(server.command(&["REPLICAOF", "127.0.0.1", "1"])),
            Self::OutOfMemory => drop(server.command(&["CONFIG", "SET", "maxmemory", "1"])),
            Self::Locked => drop(server.command(&["CONFIG", "SET", "requirepass", "x"])),
            Self::Garbled => garble(server, "Anonsense of a certain length, at least a nonce's"),
            Self::LeasedForEver => garble(server, "Lnonsense"),
        }
    }
}

/// Puts a value in place of every other.
fn garble(server: &redis::Server, value: &str) {
    for key in server.command(&["KEYS", "*"]).lines() {
        server.command(&["SET", key, value]);
    }
}

/// Listens, reads, and answers nonsense.
fn nonsense() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut buffer = [0; 1024];
                for answer in [
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
                    if read == 0 || stream.write_all(answer.as_bytes()).is_err() {
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

/// Two instances over one PostgreSQL and this Redis.
async fn two_instances(url: &str, settings: &[(&str, &str)]) -> [Service; 2] {
    let database = Arc::new(Database::new(Backend::Postgres));
    let mut settings = settings.to_vec();
    settings.push(("REDIS_URL", url));
    let start = || Service::start_on(Arc::clone(&database), &settings);
    [start().await, start().await]
}

async fn send(service: &Service, key: &str, body: &Value) -> reqwest::Response {
    let request = service.signup(body).header("Idempotency-Key", key);
    request.send().await.expect("an answer")
}

#[rstest]
#[tokio::test]
async fn c22_nothing_changes_but_speed(
    #[values(
        Trouble::Down,
        Trouble::Killed,
        Trouble::Paused,
        Trouble::Emptied,
        Trouble::ReadOnly,
        Trouble::OutOfMemory,
        Trouble::Locked,
        Trouble::Nonsense,
        Trouble::Garbled,
        Trouble::LeasedForEver
    )]
    trouble: Trouble,
) {
    const MAX_TIME: Duration = Duration::from_secs(5);
    let server = own_server();
    trouble.begin(server);
    let url = match trouble {
        Trouble::Nonsense => format!("redis://{}/0", nonsense()),
        _ => server.url(),
    };
    let services = two_instances(&url, &[]).await;
    for round in 0..3 {
        let ada = somebody(&format!("ada{round}@example.org"));
        let mut eva = ada.clone();
        eva["name"] = json!("Eva Lovelace");
        let (key, other_key) = (format!("key-{round}"), format!("other-{round}"));
        let mut firsts: BTreeMap<&str, Whole> = BTreeMap::new();
        for (number, (key, body, status, replayed)) in (0..).zip([
            (&key, &ada, 201, false),
            (&key, &ada, 201, true),
            (&key, &eva, 422, false),
            (&key, &ada, 201, true),
            (&other_key, &ada, 409, false),
            (&other_key, &ada, 409, true),
        ]) {
            trouble.strike(server, round * 10 + number);
            let begun = Instant::now();
            let answer = send(&services[usize::from(number % 2 == 1)], key, body).await;
            assert!(begun.elapsed() < MAX_TIME, "{:?}", begun.elapsed());
            assert_eq!(is_replay(&answer), replayed, "{round} {number}");
            let answer = whole(answer).await;
            assert_eq!(answer.status, status, "{round} {number}");
            if status != 422 {
                let first = firsts.entry(key).or_insert_with(|| answer.clone());
                assert_eq!(answer, *first);
            }
        }
        let bob = somebody(&format!("bob{round}@example.org"));
        let key = format!("at-once-{round}");
        let at_once = (0..6).map(|number| send(&services[number % 2], &key, &bob));
        let answers = join_all(join_all(at_once).await.into_iter().map(whole)).await;
        assert_eq!(answers[0].status, 201);
        assert!(answers.iter().all(|answer| *answer == answers[0]));
    }
    assert_eq!(services[0].database.counts().await, [6; 3]);
    if trouble == Trouble::Paused {
        server.signal("CONT");
    }
}

#[tokio::test]
async fn a_retry_is_answered_by_redis_on_any_instance() {
    let redis = redis::server().database();
    let services = two_instances(&redis.url(), &[]).await;
    let body = somebody("ada@example.org");
    let first = whole(send(&services[0], "k", &body).await).await;
    wait_for_values(&redis, 'A', 1).await;
    let again = send(&services[1], "k", &body).await;
    assert!(is_replay(&again));
    assert_eq!(whole(again).await, first);
    services[1]
        .wait_for_metric(r#"idempotency_replays_total{tier="redis"} 1"#)
        .await;
}

/// Waits until Redis holds so many values with this first byte: `L` for a lease, `A` for an
/// answer.
async fn wait_for_values(redis: &redis::Database, kind: char, count: usize) {
    let begun = Instant::now();
    let found = || {
        let keys = redis.command(&["KEYS", "signup:idempotency:*"]);
        let is_meant = |key: &&str| redis.command(&["GET", key]).starts_with(kind);
        keys.lines().filter(is_meant).count()
    };
    while found() != count {
        assert!(begun.elapsed().as_secs() < 30, "waited in vain for {kind}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_instance_waits_for_the_other_instead_of_hashing() {
    let redis = redis::server().database();
    let services = two_instances(&redis.url(), &[]).await;
    let body = somebody("ada@example.org");
    let lock = lock_out(&services[0], Backend::Postgres).await;
    let first = services[0].signup(&body).header("Idempotency-Key", "k");
    let first = tokio::spawn(first.send());
    wait_for_values(&redis, 'L', 1).await;
    let second = services[1].signup(&body).header("Idempotency-Key", "k");
    let second = tokio::spawn(second.send());
    services[1]
        .wait_for_metric("idempotency_keys_in_flight 1")
        .await;
    drop(lock);
    let first = first.await.expect("no panic").expect("an answer");
    let second = second.await.expect("no panic").expect("an answer");
    assert!(!is_replay(&first) && is_replay(&second));
    assert_eq!(whole(first).await, whole(second).await);
    // Had it not waited, its own transaction would have met the record.
    services[1]
        .wait_for_metric(r#"idempotency_replays_total{tier="redis"} 1"#)
        .await;
}

#[tokio::test]
async fn a_lease_whose_owner_was_killed_ends_by_itself() {
    let redis = redis::server().database();
    let settings = [("REQUEST_TIMEOUT_MS", "3000")];
    let mut services = two_instances(&redis.url(), &settings).await;
    let body = somebody("ada@example.org");
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
        let answer = send(&services[1], "k", &body).await;
        if answer.status() == 201 {
            break;
        }
        problem(answer, 409, "request-in-progress").await;
        assert!(begun.elapsed().as_secs() < 10, "the lease never ended");
    }
    assert_eq!(services[1].database.counts().await, [1; 3]);
}

#[tokio::test]
async fn a_lease_is_given_back_when_nothing_came_of_it() {
    let redis = redis::server().database();
    let settings = [("REQUEST_TIMEOUT_MS", "1000")];
    let services = two_instances(&redis.url(), &settings).await;
    let body = somebody("ada@example.org");
    let lock = lock_out(&services[0], Backend::Postgres).await;
    problem(send(&services[0], "k", &body).await, 503, "unavailable").await;
    wait_for_values(&redis, 'L', 0).await;
    drop(lock);
    assert_eq!(send(&services[1], "k", &body).await.status(), 201);
}

#[tokio::test]
async fn another_request_of_the_key_takes_the_answer_out_of_redis() {
    let redis = redis::server().database();
    let services = two_instances(&redis.url(), &[]).await;
    let body = somebody("ada@example.org");
    let mut other = body.clone();
    other["name"] = json!("Bob");
    assert_eq!(send(&services[0], "k", &body).await.status(), 201);
    wait_for_values(&redis, 'A', 1).await;
    problem(
        send(&services[1], "k", &other).await,
        422,
        "idempotency-key-reused",
    )
    .await;
    wait_for_values(&redis, 'A', 0).await;
    assert!(is_replay(&send(&services[0], "k", &body).await));
}

#[tokio::test]
async fn a_redis_that_fails_is_left_alone_until_it_is_well() {
    let server = own_server();
    let settings = [("REDIS_URL", &*server.url())];
    let mut service = Service::start_with(Backend::Sqlite, &settings).await;
    service
        .wait_for_metric(r#"circuit_breaker_open{dependency="redis"} 0"#)
        .await;
    server.kill();
    for number in 0..4 {
        let body = somebody(&format!("ada{number}@example.org"));
        let answer = send(&service, &format!("k{number}"), &body).await;
        assert_eq!(answer.status(), 201);
    }
    service
        .wait_for_line("Redis is of no use: going on without it")
        .await;
    let ready: Value = service.get("/ready").await.json().await.expect("JSON");
    assert_eq!(ready["status"], "ready", "{ready}");
    assert_eq!(ready["checks"]["redis"]["status"], "degraded", "{ready}");
    server.start_again();
    service
        .wait_for_metric(r#"circuit_breaker_open{dependency="redis"} 0"#)
        .await;
    let ready: Value = service.get("/ready").await.json().await.expect("JSON");
    assert_eq!(ready["checks"]["redis"]["status"], "ok", "{ready}");
    assert_eq!(
        send(&service, "well", &somebody("well@example.org"))
            .await
            .status(),
        201
    );
    let keys = server.command(&["KEYS", "signup:idempotency:*"]);
    assert!(!keys.is_empty());
}
