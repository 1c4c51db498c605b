//! Clients that sign up until they are told what came of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::faults::Chance;
use crate::instances::Instances;

/// How long a client goes on without a certain answer once faults have stopped. A planted bug can
/// leave a key that never has one.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a client was told about a signup.
#[derive(Debug, Clone)]
pub struct Signup {
    pub key: String,
    pub email: String,
    /// The answer that is certain; of status 0 where there was none.
    pub answer: Answer,
    /// How often it was sent.
    pub tries: u64,
}

/// A certain answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub body: String,
}

impl Signup {
    pub fn is_created(&self) -> bool {
        self.answer.status == 201
    }
}

/// Signs up until it is to stop; gives everything that it was told.
pub async fn run(
    client: u64,
    seed: u64,
    instances: Arc<Instances>,
    going_on: Arc<AtomicBool>,
) -> Vec<Signup> {
    let mut chance = Chance::new(seed ^ (client << 32));
    let http = http();
    let mut history = Vec::new();
    for number in 0_u32.. {
        if !going_on.load(Ordering::Relaxed) {
            break;
        }
        // About a fifth share a key, and with it everything else; about a fifth an address.
        let (key, email) = match chance.below(5) {
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
        let sent = until_certain(&http, &instances, &key, &email, &mut chance, &going_on);
        let (answer, tries) = sent.await;
        history.push(Signup {
            key,
            email,
            answer,
            tries,
        });
    }
    history
}

/// Asks once more for each key that made an account, now that all is well.
pub async fn ask_again(history: &[Signup], instances: &Instances) -> Vec<Signup> {
    let http = http();
    let mut chance = Chance::new(7);
    let mut seen = BTreeSet::new();
    let mut again = Vec::new();
    for signup in history.iter().filter(|signup| seen.insert(&signup.key)) {
        let (key, email) = (&signup.key, &signup.email);
        let healed = AtomicBool::new(false);
        let sent = until_certain(&http, instances, key, email, &mut chance, &healed);
        let (answer, tries) = sent.await;
        again.push(Signup {
            answer,
            tries,
            ..signup.clone()
        });
    }
    again
}

fn http() -> reqwest::Client {
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

/// Sends a signup until the answer is certain: what is lost, late or 5xx is not, nor is a key
/// that is still in use. Once faults have stopped it gives up in the end, which breaks a promise.
async fn until_certain(
    http: &reqwest::Client,
    instances: &Instances,
    key: &str,
    email: &str,
    chance: &mut Chance,
    going_on: &AtomicBool,
) -> (Answer, u64) {
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
                && let Some(answer) = certain(response).await
            {
                return (answer, tries);
            }
        }
        if !going_on.load(Ordering::Relaxed) {
            let calm_since = *calm_since.get_or_insert_with(Instant::now);
            if calm_since.elapsed() > PATIENCE {
                let answer = Answer {
                    status: 0,
                    location: None,
                    body: "no certain answer".to_owned(),
                };
                return (answer, tries);
            }
        }
        tokio::time::sleep(chance.millis(5, 50)).await;
    }
}

async fn certain(response: reqwest::Response) -> Option<Answer> {
    let status = response.status().as_u16();
    let location = response.headers().get("location");
    let location = location
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let body = response.text().await.ok()?;
    let is_certain = status < 500 && !body.contains("request-in-progress");
    is_certain.then_some(Answer {
        status,
        location,
        body,
    })
}
