//! `POST /auth/refresh`: each line of the table of rotation.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Response;
use rstest::rstest;
use serde_json::{Value, json};

use crate::harness::{
    Backend, InProcess, Instances, Service, Setup, Setup::Sqlite, Setup::TwoInstances, login_body,
    problem, signup_body,
};

const UNLIMITED: &[(&str, &str)] = &[("RATE_LIMIT_LOGIN", "off"), ("RATE_LIMIT_REFRESH", "off")];

/// Services with clocks that the test moves, and a session. Requests alternate between them.
struct Client {
    instances: Instances<InProcess>,
    next: AtomicUsize,
    http: reqwest::Client,
}

impl Client {
    async fn start(setup: Setup) -> (Self, Value) {
        let settings = [UNLIMITED, &[("BCRYPT_COST", "4")]].concat();
        let client = Self {
            instances: setup.start_in_process(&settings).await,
            next: AtomicUsize::new(0),
            http: reqwest::Client::new(),
        };
        let signed_up = client
            .post("/signup", &signup_body("ada@example.org"), None)
            .await;
        assert_eq!(signed_up.status(), 201);
        let token = client.log_in().await;
        (client, token)
    }

    async fn post(&self, path: &str, body: &Value, key: Option<&str>) -> Response {
        let service = self
            .instances
            .nth(self.next.fetch_add(1, Ordering::Relaxed));
        let request = self.http.post(service.url(path)).json(body);
        let request = match key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        };
        request.send().await.expect("a response")
    }

    async fn log_in(&self) -> Value {
        let response = self
            .post("/auth/login", &login_body("ada@example.org"), None)
            .await;
        let session: Value = response.json().await.expect("JSON");
        session["refresh_token"].clone()
    }

    async fn refresh(&self, token: &Value, key: Option<&str>) -> Response {
        self.post("/auth/refresh", &json!({ "refresh_token": token }), key)
            .await
    }

    fn wait(&self, seconds: u64) {
        for service in &self.instances.0 {
            service.clock.advance(Duration::from_secs(seconds));
        }
    }
}

async fn token_of(response: Response) -> Value {
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["cache-control"], "no-store");
    let tokens: Value = response.json().await.expect("JSON");
    assert!(tokens["access_token"].is_string() && tokens["expires_in"] == 1800);
    tokens["refresh_token"].clone()
}

async fn ended(response: Response, reason: &str) {
    let body = problem(response, 401, "session-ended").await;
    assert_eq!(body["reason"], reason);
}

#[rstest]
#[tokio::test]
async fn a_token_is_exchanged_for_the_next_one(#[values(Sqlite, TwoInstances)] setup: Setup) {
    let (client, first) = Client::start(setup).await;
    let second = token_of(client.refresh(&first, None).await).await;
    let third = token_of(client.refresh(&second, Some("k")).await).await;
    assert_eq!(
        BTreeSet::from([&first, &second, &third].map(ToString::to_string)).len(),
        3
    );
}

/// A lost response is repaired with the key for a day, and without it for 30 seconds.
///
/// Guarantee S1.
#[rstest]
#[case::by_its_key(Some("k"), Some("k"), 86_300)]
#[case::in_a_moment(None, None, 20)]
#[case::with_another_key(Some("k"), Some("l"), 20)]
#[tokio::test]
async fn a_lost_response_is_repeated(
    #[values(Sqlite, TwoInstances)] setup: Setup,
    #[case] key: Option<&str>,
    #[case] again: Option<&str>,
    #[case] after: u64,
) {
    let (client, first) = Client::start(setup).await;
    let second = token_of(client.refresh(&first, key).await).await;
    client.wait(after);
    let response = client.refresh(&first, again).await;
    assert_eq!(response.headers()["idempotent-replayed"], "true");
    assert_eq!(token_of(response).await, second);
    // Neither of them changed anything: the next one is made.
    token_of(client.refresh(&second, Some("m")).await).await;
}

/// Guarantee S2.
#[rstest]
#[case::without_a_key(None, None, 31)]
#[case::with_another_key(Some("k"), Some("l"), 31)]
#[case::a_day_later(Some("k"), Some("k"), 86_401)]
#[tokio::test]
async fn reuse_ends_the_session_for_both_holders(
    #[values(Sqlite, TwoInstances)] setup: Setup,
    #[case] key: Option<&str>,
    #[case] again: Option<&str>,
    #[case] after: u64,
) {
    let (client, first) = Client::start(setup).await;
    let second = token_of(client.refresh(&first, key).await).await;
    let other = client.log_in().await;
    client.wait(after);
    ended(client.refresh(&first, again).await, "reused").await;
    ended(client.refresh(&second, None).await, "reused").await;
    token_of(client.refresh(&other, None).await).await;
}

/// Guarantee S2.
#[rstest]
#[tokio::test]
async fn an_old_token_is_superseded_for_a_moment_and_then_reused(
    #[values(Sqlite, TwoInstances)] setup: Setup,
) {
    let (client, first) = Client::start(setup).await;
    let second = token_of(client.refresh(&first, None).await).await;
    let third = token_of(client.refresh(&second, None).await).await;
    problem(
        client.refresh(&first, None).await,
        409,
        "refresh-token-superseded",
    )
    .await;
    let fourth = token_of(client.refresh(&third, None).await).await;
    client.wait(31);
    ended(client.refresh(&first, None).await, "reused").await;
    ended(client.refresh(&fourth, None).await, "reused").await;
}

#[rstest]
#[tokio::test]
async fn the_key_of_a_refresh_is_not_for_the_next_one(
    #[values(Sqlite, TwoInstances)] setup: Setup,
) {
    let (client, first) = Client::start(setup).await;
    let second = token_of(client.refresh(&first, Some("k")).await).await;
    let response = client.refresh(&second, Some("k")).await;
    problem(response, 422, "idempotency-key-reused").await;
    token_of(client.refresh(&second, Some("l")).await).await;
}

#[rstest]
#[tokio::test]
async fn a_session_ends_when_it_is_idle_or_too_old(#[values(Sqlite, TwoInstances)] setup: Setup) {
    const DAY: u64 = 86_400;
    let (client, mut token) = Client::start(setup).await;
    let idle = client.log_in().await;
    for _ in 0..4 {
        client.wait(7 * DAY - 60);
        token = token_of(client.refresh(&token, None).await).await;
    }
    ended(client.refresh(&idle, None).await, "idle").await;
    client.wait(3 * DAY);
    ended(client.refresh(&token, None).await, "expired").await;
}

/// An access token has its whole life after a refresh, however idle the session was; but none after its end.
#[tokio::test]
async fn an_access_token_does_not_outlive_its_session() {
    const DAY: u64 = 86_400;
    let (client, mut token) = Client::start(Sqlite).await;
    let mut life = async |wait: u64| {
        client.wait(wait);
        let response = client.refresh(&token, None).await;
        assert_eq!(response.status(), 200);
        let tokens: Value = response.json().await.expect("JSON");
        token = tokens["refresh_token"].clone();
        tokens["expires_in"].as_u64().expect("seconds")
    };
    for _ in 0..4 {
        assert_eq!(life(7 * DAY - 60).await, 1800);
    }
    let last = life(2 * DAY + 180).await;
    assert!((1..=60).contains(&last), "{last}");
}

#[tokio::test]
async fn what_is_no_token_of_a_session_is_invalid() {
    let (client, token) = Client::start(Sqlite).await;
    let text = token.as_str().expect("a text");
    let changed = |place: usize| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        json!(String::from_utf8(bytes).expect("ASCII"))
    };
    let others = [
        json!(""),
        json!("srt_"),
        json!(text.to_owned() + "A"),
        json!("x".repeat(2000)),
    ];
    for other in (0..text.len()).step_by(7).map(changed).chain(others) {
        let response = client.refresh(&other, None).await;
        let challenge = response.headers()["www-authenticate"].clone();
        assert!(challenge.to_str().expect("ASCII").starts_with("Bearer"));
        problem(response, 401, "refresh-token-invalid").await;
    }
    let missing = client.post("/auth/refresh", &json!({}), None).await;
    problem(missing, 422, "validation-failed").await;
    token_of(client.refresh(&token, None).await).await;
}

/// Many at once make one successor, over all instances. In several rounds, as in most of them the first one has
/// written before another has read.
///
/// Guarantee S1.
#[rstest]
#[tokio::test]
async fn refreshes_at_once_get_one_token(#[values(Sqlite, TwoInstances)] setup: Setup) {
    let instances = setup.start(UNLIMITED).await;
    let session = instances.first().logged_in("ada@example.org").await;
    let mut token = session["refresh_token"].clone();
    for round in 1..=10 {
        let refresh = async |number: usize| {
            let response = instances.nth(number).refresh(&token, None).await;
            token_of(response).await.to_string()
        };
        let tokens: BTreeSet<String> = join_all((0..50).map(refresh)).await.into_iter().collect();
        assert_eq!(tokens.len(), 1);
        let generation = generation(instances.first()).await;
        assert_eq!(generation, round.to_string());
        let next = tokens.first().expect("one");
        token = serde_json::from_str(next).expect("JSON");
    }
}

/// The generation of the only session.
async fn generation(service: &Service) -> String {
    let rows = "SELECT CAST(generation AS text) FROM sessions";
    service.database.rows(rows).await.remove(0)
}

/// The instance that exchanged the token is killed, and its response is never read.
#[rstest]
#[tokio::test]
async fn a_refresh_is_repeated_after_a_crash(#[values(Sqlite, TwoInstances)] setup: Setup) {
    let mut instances = setup.start(UNLIMITED).await;
    let session = instances.first().logged_in("ada@example.org").await;
    let first = &session["refresh_token"];
    let killed = &mut instances.0[0];
    let body = json!({ "refresh_token": first }).to_string();
    let head = "POST /auth/refresh HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\n\
                Content-Type: application/json\r\nContent-Length:";
    let mut connection = killed.connect();
    connection.send(format!("{head} {}\r\n\r\n{body}", body.len()));
    let begun = Instant::now();
    while generation(killed).await == "0" {
        assert!(begun.elapsed() < Duration::from_secs(30), "never exchanged");
    }
    killed.signal("KILL");
    killed.wait().await;
    drop(connection);
    if setup == Sqlite {
        let database = std::sync::Arc::clone(&instances.first().database);
        instances.0[0] = Service::start_on(database, UNLIMITED).await;
    }
    let service = instances.last();
    let mut tokens = BTreeSet::new();
    for _ in 0..2 {
        let response = service.refresh(first, Some("k")).await;
        assert_eq!(response.headers()["idempotent-replayed"], "true");
        tokens.insert(token_of(response).await.to_string());
        assert_eq!(generation(service).await, "1");
    }
    assert_eq!(tokens.len(), 1);
    let second: Value = serde_json::from_str(tokens.first().expect("one")).expect("JSON");
    token_of(service.refresh(&second, Some("l")).await).await;
    assert_eq!(generation(service).await, "2");
}

#[rstest]
#[tokio::test]
async fn refreshes_of_a_client_are_limited(
    #[values(Backend::Sqlite, Backend::Postgres)] backend: Backend,
) {
    let service = Service::start_with(backend, &[("RATE_LIMIT_REFRESH", "1/1h")]).await;
    let session = service.logged_in("ada@example.org").await;
    let response = service.refresh(&session["refresh_token"], None).await;
    assert_eq!(response.status(), 200);
    let response = service.refresh(&session["refresh_token"], None).await;
    problem(response, 429, "rate-limited").await;
}

#[tokio::test]
async fn the_refreshes_of_a_session_are_limited_and_its_retries_are_not() {
    let service = Service::start_with(Backend::Sqlite, &[("RATE_LIMIT_REFRESH", "18/1h")]).await;
    let session = service.logged_in("ada@example.org").await;
    let mut token = session["refresh_token"].clone();
    for _ in 0..3 {
        let before = token.clone();
        let response = service.refresh(&before, None).await;
        assert_eq!(response.status(), 200);
        token = response.json::<Value>().await.expect("JSON")["refresh_token"].clone();
        // A response that was lost: no limit, within the grace.
        assert_eq!(service.refresh(&before, None).await.status(), 200);
    }
    let response = service.refresh(&token, None).await;
    assert!(response.headers().contains_key("retry-after"));
    problem(response, 429, "rate-limited").await;
    let other = service.logged_in("eve@example.org").await;
    let response = service.refresh(&other["refresh_token"], None).await;
    assert_eq!(response.status(), 200, "it has a limit of its own");
}
