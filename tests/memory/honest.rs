//! Honest clients, each from a separate network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

/// The pause between two requests of a client.
const PAUSE: Duration = Duration::from_millis(50);

/// One of this many requests is a signup, the others are reads.
const READS: usize = 10;

/// The results of the clients.
#[derive(Default)]
pub struct Figures {
    signups: Vec<Duration>,
    reads: Vec<Duration>,
    refused: Vec<String>,
}

/// Runs a number of clients that sign up and read for some time, on a separate thread, so that they do
/// not wait for the attackers in this process.
pub async fn clients(address: SocketAddr, count: u8, time: Duration) -> Figures {
    let (send, receive) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        send.send(runtime.block_on(all(address, count, time)))
    });
    receive.await.expect("figures")
}

async fn all(address: SocketAddr, count: u8, time: Duration) -> Figures {
    let mut clients: JoinSet<Figures> = (0..count)
        .map(|number| client(address, number, time))
        .collect();
    let mut all = Figures::default();
    while let Some(figures) = clients.join_next().await {
        let figures = figures.expect("no panic");
        all.signups.extend(figures.signups);
        all.reads.extend(figures.reads);
        all.refused.extend(figures.refused);
    }
    all
}

async fn client(address: SocketAddr, number: u8, time: Duration) -> Figures {
    let own = IpAddr::V4(Ipv4Addr::new(127, 0, 1, number + 1));
    let client = reqwest::Client::builder()
        .local_address(own)
        .build()
        .expect("a client");
    let mut figures = Figures::default();
    let begun = Instant::now();
    let mut location = String::new();
    let mut turn = 0;
    while begun.elapsed() < time {
        let sent = Instant::now();
        let is_signup = turn % READS == 0;
        let request = if is_signup {
            let email = format!("honest-{number}-{turn}@example.org");
            let body = serde_json::json!({
                "name": "Ada", "email": email, "password": "correct horse battery staple"
            });
            client.post(format!("http://{address}/signup")).json(&body)
        } else {
            client.get(format!("http://{address}{location}"))
        };
        match request.send().await {
            Ok(response) if response.status().is_success() => {
                if is_signup {
                    let found = response.headers()["location"].to_str().expect("ASCII");
                    found.clone_into(&mut location);
                    figures.signups.push(sent.elapsed());
                } else {
                    let _ = response.bytes().await;
                    figures.reads.push(sent.elapsed());
                }
            }
            Ok(response) => {
                let what = format!("{}: {:?}", response.status(), response.text().await);
                figures.refused.push(what);
            }
            Err(error) => figures.refused.push(format!("{error:?}")),
        }
        turn += 1;
        tokio::time::sleep(PAUSE).await;
    }
    figures
}

fn percentile(times: &[Duration], part: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index"
    )]
    let at = (sorted.len() as f64 * part) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

impl Figures {
    /// Asserts that no honest client was refused, and that reads were within the limit.
    pub fn check(&self, limit: Option<Duration>) {
        assert!(
            self.refused.is_empty(),
            "{}: {:?}",
            self.refused.len(),
            self.refused.first()
        );
        assert!(!self.signups.is_empty() && !self.reads.is_empty());
        let slow = percentile(&self.reads, 0.99);
        assert!(limit.is_none_or(|limit| slow < limit), "{slow:?}");
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} signups, p99 {:?}; {} reads, p50 {:?}, p99 {:?}; {} refused {:?}",
            self.signups.len(),
            percentile(&self.signups, 0.99),
            self.reads.len(),
            percentile(&self.reads, 0.5),
            percentile(&self.reads, 0.99),
            self.refused.len(),
            self.refused.iter().take(5).collect::<Vec<_>>()
        )
    }
}
