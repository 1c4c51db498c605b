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

use crate::harness::{Backend, Database, Service, problem, signup_body};
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
    /// Whether Redis is left alone because of it.
    fn is_noticed(self) -> bool {
        !matches!(
            self,
            Self::Emptied | Self::Nonsense | Self::Garbled | Self::LeasedForEver
        )
    }

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
            Self::Locked => {
                // Who is connected stays let in.
                server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
                server.command(&["CONFIG", "SET", "requirepass", "x"]);
            }
            Self::Garbled => garble(server, "Ononsense of a certain length, at least a nonce's"),
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
        let ada = signup_body(&format!("ada{round}@example.org"));
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
        let bob = signup_body(&format!("bob{round}@example.org"));
        let key = format!("at-once-{round}");
        let at_once = (0..6).map(|number| send(&services[number % 2], &key, &bob));
        let answers = join_all(join_all(at_once).await.into_iter().map(whole)).await;
        assert_eq!(answers[0].status, 201);
        assert!(answers.iter().all(|answer| *answer == answers[0]));
    }
    assert_eq!(services[0].database.counts().await, [6; 3]);
    if trouble.is_noticed() {
        for service in &services {
            service
                .wait_for_metric(r#"circuit_breaker_open{dependency="redis"} 1"#)
                .await;
        }
    }
    if trouble == Trouble::Paused {
        server.signal("CONT");
    }
}

#[tokio::test]
async fn a_retry_is_answered_by_redis_on_any_instance() {
    let redis = redis::server().database();
    let services = two_instances(&redis.url(), &[]).await;
    let body = signup_body("ada@example.org");
    let first = whole(send(&services[0], "k", &body).await).await;
    wait_for_values(&redis, 'O', 1).await;
    let again = send(&services[1], "k", &body).await;
    assert!(is_replay(&again));
    assert_eq!(whole(again).await, first);
    services[1]
        .wait_for_metric(r#"idempotency_replays_total{tier="redis"} 1"#)
        .await;
}

/// Waits until Redis holds so many values with this first byte: `L` for a lease, `O` for an
/// outcome.
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
    let body = signup_body("ada@example.org");
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
        let answer = other.await.expect("no panic").expect("an answer");
        assert_eq!(answer.status(), 201);
    }
}

#[tokio::test]
async fn only_its_owner_gives_a_lease_back() {
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
    let first = first.await.expect("no panic").expect("an answer");
    problem(first, 503, "unavailable").await;
    // A signup behind it: what the first had to tell Redis, Redis has heard by then.
    drop(lock);
    let other = signup_body("bob@example.org");
    assert_eq!(send(&services[0], "other", &other).await.status(), 201);
    assert_eq!(redis.command(&["GET", &name]), "of another");
}

/// Where Redis has what belongs to a key.
async fn name_of(key: &str) -> String {
    let redis = redis::server().database();
    let services = two_instances(&redis.url(), &[]).await;
    let body = signup_body("ada@example.org");
    assert_eq!(send(&services[0], key, &body).await.status(), 201);
    redis.command(&["KEYS", "signup:idempotency:*"])
}

/// Puts a lease there, which ends at this time in microseconds since 1970.
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
async fn a_lease_that_nobody_can_hold_is_ignored(#[case] end: i64) {
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
async fn a_record_counts_more_than_a_lease() {
    let name = name_of("k").await;
    let redis = redis::server().database();
    let services = two_instances(&redis.url(), &[]).await;
    let body = signup_body("ada@example.org");
    let first = whole(send(&services[0], "k", &body).await).await;
    lease(&redis, &name, micros_from_now(8));
    let again = send(&services[1], "k", &body).await;
    assert!(is_replay(&again));
    assert_eq!(whole(again).await, first);
}

#[tokio::test]
async fn a_worn_out_key_is_worn_out_while_the_secret_is_changed() {
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
    // Each next to the one before, as a change of secrets goes.
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
        // Some keys have one order of their names, some the other.
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
async fn another_request_of_the_key_takes_the_answer_out_of_redis() {
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
async fn a_redis_that_fails_is_left_alone_until_it_is_well() {
    let server = own_server();
    let settings = [("REDIS_URL", &*server.url())];
    let mut service = Service::start_with(Backend::Sqlite, &settings).await;
    service
        .wait_for_metric(r#"circuit_breaker_open{dependency="redis"} 0"#)
        .await;
    server.kill();
    for number in 0..4 {
        let body = signup_body(&format!("ada{number}@example.org"));
        let answer = send(&service, &format!("k{number}"), &body).await;
        assert_eq!(answer.status(), 201);
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
async fn a_forged_lease_delays_no_key_that_was_answered() {
    let redis = redis::server().database();
    let url = redis.url();
    let settings = [("REDIS_URL", url.as_str())];
    let service = Service::start_with(Backend::Postgres, &settings).await;
    let body = signup_body("ada@example.org");
    let send = async || {
        let request = service.signup(&body).header("Idempotency-Key", "k");
        request.send().await.expect("an answer")
    };
    let first = whole(send().await).await;
    assert_eq!(first.status, 201);
    // It says that the key is running for some seconds yet.
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
    assert_eq!(whole(again).await, first);
    let waited = begun.elapsed();
    assert!(waited < Duration::from_millis(1500), "it waited {waited:?}");
}
