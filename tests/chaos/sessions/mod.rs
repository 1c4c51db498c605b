//! Sessions under faults: owners refresh, lose responses and retry, and thieves present copies, while
//! instances, the database and Redis are killed.
//!
//! Then the faults stop, each owner refreshes once more, everything of a session that has ended is
//! tried again, and what the clients saw is checked against the tables (see [`check`]).

mod check;
mod clients;
mod dump;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::faults;
use crate::instances::{Instances, Options, Place};
use check::{Fate, Session};
use clients::{Client, Counts, World};

/// `REFRESH_GRACE_SECONDS` of the runs. A request that its client has left may still be processed: up to a
/// fault and a time limit later, and one more fault. The grace is longer, as it is in production.
pub const GRACE: Duration = Duration::from_secs(5);

/// The longest fault, in milliseconds.
const LONGEST: usize = 1_000;

/// Sessions at once.
const CLIENTS: u64 = 32;

/// The statements of a login, a refresh and their ends.
const POINTS: &[&str] = &[
    "BEGIN",
    "INSERT sessions",
    "DELETE login_throttle",
    "INSERT auth_log",
    "INSERT revocations",
    "UPDATE sessions",
    "UPDATE sessions",
    "COMMIT",
];

/// The settings of the service as it should be.
pub const RIGHT: &[(&str, &str)] = &[
    ("RATE_LIMIT_LOGIN", "off"),
    ("RATE_LIMIT_REFRESH", "off"),
    ("REFRESH_GRACE_SECONDS", "5"),
    ("REQUEST_TIMEOUT_MS", "2000"),
];

/// A grace that is as good as none to the thieves of a run.
pub const ENDLESS_GRACE: &[(&str, &str)] = &[
    ("RATE_LIMIT_LOGIN", "off"),
    ("RATE_LIMIT_REFRESH", "off"),
    ("REFRESH_GRACE_SECONDS", "300"),
    ("REQUEST_TIMEOUT_MS", "2000"),
];

/// What came of a run.
pub struct Outcome {
    /// The broken promises, by their letters.
    pub violations: Vec<String>,
    /// Processes killed and crashed, a minute.
    pub kills_a_minute: u64,
    /// How often clients did what.
    pub counts: Counts,
}

/// Runs clients and faults against a number of instances, and checks the outcome.
pub async fn run(
    place: Place,
    count: usize,
    seconds: u64,
    seed: u64,
    (plant, settings): (&'static str, &'static [(&'static str, &'static str)]),
) -> Outcome {
    let place = Arc::new(place);
    let options = Options {
        plant,
        points: POINTS,
        passes: 30,
        settings,
        keeps_log: true,
    };
    let instances = Arc::new(Instances::start(Arc::clone(&place), count, seed, options).await);
    let world = Arc::new(World {
        instances: Arc::clone(&instances),
        running: AtomicBool::new(true),
        history: std::sync::Mutex::default(),
        counts: Counts::default(),
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(Client::new(Arc::clone(&world), number, seed).work()))
        .collect();
    let begun = Instant::now();
    let time = Duration::from_secs(seconds);
    let faults = faults::make(&instances, seed, time, LONGEST).await;
    let lasted = begun.elapsed();
    instances.stop_crashing();
    instances.wait_until_ready(crate::READY_WITHIN).await;
    world.running.store(false, Ordering::Relaxed);
    for client in clients {
        client.await.expect("a client never panics");
    }
    if let Some(redis) = place.redis() {
        // No session may depend on it; what it holds is looked through first.
        search(&world, &place).await;
        redis.server.command(&["FLUSHALL"]);
    }
    try_everything(&world, seed).await;
    for token in dump::forged(&place).await {
        Client::new(Arc::clone(&world), 0, seed)
            .must_be_unknown(&token)
            .await;
    }
    search(&world, &place).await;

    let rows = dump::sessions(&place).await;
    let history = std::mem::take(&mut *world.history.lock().expect("no panic"));
    let violations = check::violations(&history, &rows);
    let fates = |fate| {
        history
            .sessions
            .iter()
            .filter(|one| one.fate == fate)
            .count()
    };
    println!(
        "{place}: sessions {}: live {}, logged out {}, reused {}, retried too late {}; exchanges {}\n\
         {:?}\nfaults: {faults}, crashes at points: {}\n{}",
        rows.len(),
        fates(Fate::Live),
        fates(Fate::LoggedOut),
        fates(Fate::Reused),
        fates(Fate::Late),
        history.exchanges.len(),
        world.counts,
        instances.crashes_by_point(),
        summary(plant, &violations),
    );
    let kills = faults.kills + instances.crashes();
    drop(instances);
    let world = Arc::into_inner(world).expect("the clients are done");
    Outcome {
        violations,
        kills_a_minute: kills * 60 / lasted.as_secs().max(1),
        counts: world.counts,
    }
}

/// How often each promise was broken, with an example.
fn summary(plant: &str, violations: &[String]) -> String {
    let letters: BTreeSet<&str> = violations.iter().map(|text| &text[..1]).collect();
    let lines = letters.iter().map(|letter| {
        let of_it = violations.iter().filter(|text| text.starts_with(letter));
        let first = violations.iter().find(|text| text.starts_with(letter));
        format!(
            "\n  {} times {}",
            of_it.count(),
            first.map_or("", |text| text)
        )
    });
    let what = if plant.is_empty() { "" } else { "planted bug " };
    format!(
        "{what}{plant} violations: {}{}",
        violations.len(),
        lines.collect::<String>()
    )
}

/// Looks for the secrets of clients in all that is at rest.
async fn search(world: &World, place: &Place) {
    let log = world.instances.log.lock().expect("no panic").clone();
    let everything = dump::everything(place, &log).await;
    let secrets = world.history.lock().expect("no panic").secrets.clone();
    let found = dump::found_in(&everything, &secrets);
    if let Some(one) = found.first() {
        let kind = &one[..4];
        world.broken(format!(
            "e: {} secrets are at rest, one of {kind}",
            found.len()
        ));
    }
    println!(
        "{place}: {} secrets, {} bytes at rest",
        secrets.len(),
        everything.len()
    );
}

/// Refreshes each session that its owner holds, reads with its access token, and presents each token of one that has ended.
async fn try_everything(world: &Arc<World>, seed: u64) {
    let sessions = std::mem::take(&mut world.history.lock().expect("no panic").sessions);
    let parts = sessions.len().div_ceil(8).max(1);
    let tasks: Vec<_> = (CLIENTS..)
        .zip(sessions.chunks(parts).map(<[Session]>::to_vec))
        .map(|(number, mut part)| {
            let mut client = Client::new(Arc::clone(world), number, seed);
            tokio::spawn(async move {
                for session in &mut part {
                    if session.fate == Fate::Live {
                        client.refresh_at_last(session).await;
                        client.must_read_if_live(session).await;
                        continue;
                    }
                    client.must_read_if_live(session).await;
                    for token in session.tokens.iter().rev().take(3) {
                        client.must_be_refused(token, "long after its end").await;
                    }
                }
                part
            })
        })
        .collect();
    for task in tasks {
        let part = task.await.expect("a client never panics");
        world
            .history
            .lock()
            .expect("no panic")
            .sessions
            .extend(part);
    }
}
