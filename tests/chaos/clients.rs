//! Clients that send signups until they get a final response.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::faults::Chance;
use crate::instances::Instances;

/// How long a client retries without a final response once faults have stopped. A planted bug can
/// leave a key that never gets one.
const PATIENCE: Duration = Duration::from_secs(10);

/// A signup and the response that its client got.
#[derive(Debug, Clone)]
pub struct Signup {
    pub key: String,
    pub email: String,
    /// The final response; with status 0 if there was none.
    pub response: FinalResponse,
    /// The number of tries.
    pub tries: u64,
}

/// A response that reports the outcome of a signup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinalResponse {
    pub status: u16,
    pub location: Option<String>,
    pub body: String,
}

impl Signup {
    pub fn is_created(&self) -> bool {
        self.response.status == 201
    }
}

/// Signs up until stopped; returns all signups with their responses.
pub async fn run(
    client: u64,
    seed: u64,
    instances: Arc<Instances>,
    running: Arc<AtomicBool>,
) -> Vec<Signup> {
    // About a fifth share a key, and with it everything else; about a fifth an address.
    let next = |chance: &mut Chance, number: u32| match chance.below(5) {
        0 => (
            format!("shared-{number}"),
            format!("shared{number}@example.org"),
        ),
        1 => (
            format!("own-{client}-{number}"),
            format!("wanted{}@example.org", number / 3),
        ),
        _ => (
            format!("own-{client}-{number}"),
            format!("ada{client}.{number}@example.org"),
        ),
    };
    sign_up(seed ^ (client << 32), instances, running, None, next).await
}

/// Signs up while the test runs, with the key and the address of each number, and perhaps pauses of this
/// many milliseconds.
pub async fn sign_up(
    seed: u64,
    instances: Arc<Instances>,
    running: Arc<AtomicBool>,
    pause: Option<(usize, usize)>,
    next: impl Fn(&mut Chance, u32) -> (String, String),
) -> Vec<Signup> {
    let mut chance = Chance::new(seed);
    let http = http();
    let mut history = Vec::new();
    for number in 0_u32.. {
        if !running.load(Ordering::Relaxed) {
            break;
        }
        let (key, email) = next(&mut chance, number);
        let sent = send_until_final(&http, &instances, &key, &email, &mut chance, &running);
        let (response, tries) = sent.await;
        history.push(Signup {
            key,
            email,
            response,
            tries,
        });
        if let Some((least, most)) = pause {
            tokio::time::sleep(chance.millis(least, most)).await;
        }
    }
    history
}

/// Resends the signup of each key once, after the faults have stopped.
pub async fn resend_all(history: &[Signup], instances: &Instances) -> Vec<Signup> {
    let http = http();
    let mut chance = Chance::new(7);
    let mut seen = BTreeSet::new();
    let mut again = Vec::new();
    for signup in history.iter().filter(|signup| seen.insert(&signup.key)) {
        let (key, email) = (&signup.key, &signup.email);
        let healed = AtomicBool::new(false);
        let sent = send_until_final(&http, instances, key, email, &mut chance, &healed);
        let (response, tries) = sent.await;
        again.push(Signup {
            response,
            tries,
            ..signup.clone()
        });
    }
    again
}

/// A client with a time limit for each request.
pub fn http() -> reqwest::Client {
    let http = reqwest::Client::builder().timeout(Duration::from_secs(5));
    http.build().expect("a client")
}

fn body(email: &str) -> Value {
    json!({
        "name": "Ada Lovelace",
        "email": email,
        "password": "correct horse battery staple",
    })
}

/// Sends a signup until it gets a final response: lost, late and 5xx responses are not final, nor is
/// that for a key in progress. Gives up some time after the faults have stopped, which breaks a promise.
pub async fn send_until_final(
    http: &reqwest::Client,
    instances: &Instances,
    key: &str,
    email: &str,
    chance: &mut Chance,
    running: &AtomicBool,
) -> (FinalResponse, u64) {
    let mut calm_since = None;
    let mut tries = 0;
    loop {
        tries += 1;
        if let Some(address) = instances.address(chance.below(instances.count())) {
            let request = http
                .post(format!("http://{address}/signup"))
                .header("Idempotency-Key", key)
                .json(&body(email));
            if let Ok(response) = request.send().await
                && let Some(response) = final_response(response).await
            {
                return (response, tries);
            }
        }
        if !running.load(Ordering::Relaxed) {
            let calm_since = *calm_since.get_or_insert_with(Instant::now);
            if calm_since.elapsed() > PATIENCE {
                let response = FinalResponse {
                    status: 0,
                    location: None,
                    body: "no final response".to_owned(),
                };
                return (response, tries);
            }
        }
        tokio::time::sleep(chance.millis(5, 50)).await;
    }
}

async fn final_response(response: reqwest::Response) -> Option<FinalResponse> {
    let status = response.status().as_u16();
    let location = response.headers().get("location");
    let location = location
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let body = response.text().await.ok()?;
    let is_final = status < 500 && !body.contains("request-in-progress");
    is_final.then_some(FinalResponse {
        status,
        location,
        body,
    })
}
