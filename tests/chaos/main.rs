//! Exactly-once signup under faults.
//!
//! Clients sign up while instances of the service are killed, stopped, cut off from their database and
//! their Redis, and crash at named points of a signup. A fifth of the signups share an address, a
//! fifth share a key. Signups with an unknown outcome are retried with the same key. Then the faults
//! stop, and the responses to the clients are checked against the tables.
//!
//! Then rows are read while they change, and no read may miss a write that was acknowledged before it
//! (see `reads`).
//!
//! And sessions are begun, refreshed, stolen and ended, and no owner may lose one, and no thief keep one
//! (see `sessions`).
//!
//! And mails are sent to a mail server that fails, and none may be lost (see `mails`).
//!
//! A run prints its seed. `CHAOS_SEED` sets another one, and `CHAOS_SECONDS` the length of each of the
//! six runs on the unmodified service, and of the two that read, a minute at most. Others are on a
//! service with a planted bug, which must be found. `make chaos` runs for some minutes.

mod check;
mod clients;
mod faults;
mod instances;
mod mails;
mod proxy;
mod reads;
mod sessions;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use check::Tables;
use faults::Pace;
use instances::{Instances, Options, Place};
use rstest::rstest;

/// The default length of a run; short, as two of them are part of the tests.
const SECONDS: u64 = 20;
const SEED: u64 = 20_261_121;

/// Runs of at least this many seconds must hit every crash point.
const LONG_RUN: u64 = 60;

/// The length of a run with a planted bug, in seconds.
const PLANT_SECONDS: u64 = 10;

/// The default length of a run of reads while rows change, in seconds; a minute at most.
const READ_SECONDS: u64 = 8;

/// The writes that a run of reads needs to mean something.
const LEAST_WRITES: usize = 1_000;

/// The same with a planted bug.
const PLANT_READ_SECONDS: u64 = 3;

/// The default length of a run of sessions, in seconds.
const SESSION_SECONDS: u64 = 12;

/// The same with a planted bug: a reuse is found when the grace has passed.
const PLANT_SESSION_SECONDS: u64 = 7;

/// The default length of a run with mails, in seconds.
const MAIL_SECONDS: u64 = 12;

/// The same with a planted bug.
const PLANT_MAIL_SECONDS: u64 = 8;

/// The faults of a run of signups.
const PACE: Pace = Pace {
    longest: 2_000,
    between: (200, 1_200),
};

/// Concurrent clients.
const CLIENTS: u64 = 8;

/// The time limit for the service to be ready once faults stop.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// The minimum number of kills a minute; with fewer, the run proves little.
const KILLS_A_MINUTE: u64 = 20;

fn number(name: &str, default: u64) -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test has no settings file; its variables are named in its documentation"
    )]
    let text = std::env::var(name).unwrap_or_default();
    text.parse().unwrap_or(default)
}

/// The outcome of a run.
struct Outcome {
    violations: Vec<String>,
    kills_a_minute: u64,
    created: usize,
    points: usize,
    all_points: usize,
}

/// Runs clients and faults against a number of instances, and checks the outcome.
async fn run(place: Place, count: usize, seconds: u64, plant: &'static str) -> Outcome {
    let seed = number("CHAOS_SEED", SEED);
    let what = match plant {
        "" => String::new(),
        plant => format!(", with the planted bug {plant}, which must be found"),
    };
    println!("{place}: {count} instance(s), {seconds} s, CHAOS_SEED={seed}{what}");
    let place = Arc::new(place);
    let options = Options::with_plant(plant);
    let instances = Arc::new(Instances::start(Arc::clone(&place), count, seed, options).await);

    let running = Arc::new(AtomicBool::new(true));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (instances, running) = (Arc::clone(&instances), Arc::clone(&running));
            tokio::spawn(clients::run(client, seed, instances, running))
        })
        .collect();
    let begun = Instant::now();
    let faults = faults::make(&instances, seed, Duration::from_secs(seconds), PACE).await;
    let lasted = begun.elapsed();

    instances.stop_crashing();
    let healing = Instant::now();
    instances.wait_until_ready(READY_WITHIN).await;
    let healed = healing.elapsed();
    running.store(false, Ordering::Relaxed);
    let mut history = Vec::new();
    for client in clients {
        history.extend(client.await.expect("a client never panics"));
    }
    let mut leaks = 0;
    if let Some(redis) = place.redis() {
        leaks = check::leaks_in(&redis.server);
        // No completed signup may depend on it.
        redis.server.command(&["FLUSHALL"]);
    }
    let replays = clients::resend_all(&history, &instances).await;

    let mut tables = Tables::read(&place).await;
    tables.leaks += leaks;
    let violations = check::violations(&history, &replays, &tables);
    let created = history.iter().filter(|signup| signup.is_created()).count();
    println!(
        "signups {}, acknowledged {created}, resent {}, tries {}\n\
         faults: {faults}, crashes at points: {}\n\
         ready again after {} ms\n{}",
        history.len(),
        replays.len(),
        history.iter().map(|signup| signup.tries).sum::<u64>(),
        instances.crashes_by_point(),
        healed.as_millis(),
        summary(plant, &violations),
    );
    let kills = faults.kills + instances.crashes();
    Outcome {
        violations,
        kills_a_minute: kills * 60 / lasted.as_secs().max(1),
        created,
        points: instances.points_hit(),
        all_points: place.points().len(),
    }
}

/// The summary of a run's violations; those of a planted bug are expected.
fn summary(plant: &str, violations: &[String]) -> String {
    match (plant, violations.len()) {
        ("", count) => format!("violations: {count}"),
        (plant, 0) => {
            format!("the planted bug {plant} was NOT found, which is a fault of this test")
        }
        (plant, count) => {
            format!("planted bug {plant} found, as it must be: it broke promises {count} times")
        }
    }
}

#[rstest]
#[case::one_on_sqlite(Place::sqlite(), 1)]
#[case::two_on_postgres_and_redis(Place::postgres_and_redis(), 2)]
#[tokio::test(flavor = "multi_thread")]
async fn every_promise_holds(#[case] place: Place, #[case] count: usize) {
    let seconds = number("CHAOS_SECONDS", SECONDS);
    let outcome = run(place, count, seconds, "").await;
    let violations = outcome.violations;
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    let kills = outcome.kills_a_minute;
    assert!(kills >= KILLS_A_MINUTE, "only {kills} kills a minute");
    if seconds >= LONG_RUN {
        assert_eq!(
            outcome.points, outcome.all_points,
            "a crash point was never hit"
        );
    }
    assert!(outcome.created > 50, "only {} accounts", outcome.created);
}

#[rstest]
#[case::read_model_outside(Place::postgres(), "split users", &["1", "2"])]
#[case::response_recorded_after_commit(Place::postgres(), "defer idempotency_records", &["4", "6"])]
#[case::record_only_in_redis(Place::postgres_and_redis(), "drop idempotency_records", &["4", "6"])]
#[case::a_statement_dropped(Place::sqlite(), "drop user_events", &["1", "2"])]
#[case::acknowledged_before_commit(Place::postgres(), "early-commit", &["1", "2", "3", "4"])]
#[tokio::test(flavor = "multi_thread")]
async fn a_planted_bug_is_found(
    #[case] place: Place,
    #[case] plant: &'static str,
    #[case] promises: &[&str],
) {
    let outcome = run(place, 2, PLANT_SECONDS, plant).await;
    let broken: Vec<&str> = outcome.violations.iter().map(|text| &text[..1]).collect();
    let expected = |promise: &&str| promises.contains(promise);
    assert!(broken.iter().any(expected), "{:?}", outcome.violations);
}

/// Guarantee R5.
#[rstest]
#[case::on_sqlite(Place::sqlite())]
#[case::on_postgres(Place::postgres())]
#[tokio::test(flavor = "multi_thread")]
async fn every_read_sees_the_writes_before_it(#[case] place: Place) {
    let seconds = number("CHAOS_SECONDS", READ_SECONDS).min(LONG_RUN);
    let seed = number("CHAOS_SEED", SEED);
    let (name, has_network) = (place.to_string(), place.has_network());
    println!("{name}: reads for {seconds} s, CHAOS_SEED={seed}");
    let history = reads::run(place, seconds, LEAST_WRITES, seed, "").await;
    let stale = reads::stale(&history);
    let (reads, writes) = (history.reads.len(), history.writes.len());
    println!(
        "reads {reads}, failed {}, cancelled {}, writes {writes}, faults {}, stale {}; {:.1} reads a \
         statement",
        history.failed,
        history.cancelled,
        history.faults,
        stale.len(),
        history.asked.0 / history.asked.1
    );
    assert!(stale.is_empty(), "{}", stale.join("\n"));
    assert!(
        reads > 1_000 && writes > LEAST_WRITES,
        "{reads} reads, {writes} writes"
    );
    assert!(history.cancelled > 50);
    assert!(
        !has_network || history.faults >= seconds,
        "{} faults",
        history.faults
    );
    let (asked, statements) = history.asked;
    assert!(
        asked > 1.5 * statements,
        "{asked} reads in {statements} statements"
    );
    // Only a fault of the network fails a read.
    assert!(
        has_network || history.failed == 0,
        "{} failed",
        history.failed
    );
}

#[rstest]
#[case::on_sqlite(Place::sqlite())]
#[case::on_postgres(Place::postgres())]
#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_joins_a_statement_under_way_is_found(#[case] place: Place) {
    let history = reads::run(place, PLANT_READ_SECONDS, 0, SEED, "join").await;
    let (stale, reads) = (reads::stale(&history).len(), history.reads.len());
    println!("planted bug join: {stale} of {reads} reads are stale");
    assert!(stale > 0, "the planted bug was not found");
}

#[rstest]
#[case::one_on_sqlite(Place::sqlite(), 1)]
#[case::two_on_postgres_and_redis(Place::postgres_and_redis(), 2)]
#[tokio::test(flavor = "multi_thread")]
async fn every_owner_keeps_the_session_and_no_thief(#[case] place: Place, #[case] count: usize) {
    let seconds = number("CHAOS_SECONDS", SESSION_SECONDS);
    let seed = number("CHAOS_SEED", SEED);
    println!("{place}: {count} instance(s), sessions for {seconds} s, CHAOS_SEED={seed}");
    let outcome = sessions::run(place, count, seconds, seed, ("", sessions::RIGHT)).await;
    let violations = outcome.violations;
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    let kills = outcome.kills_a_minute;
    // A run is too short for more, as other faults have their turn.
    assert!(kills >= KILLS_A_MINUTE / 2, "only {kills} kills a minute");
    let at_least = |counter: AtomicU64, least| counter.into_inner() >= least;
    let counts = format!("{:?}", outcome.counts);
    assert!(at_least(outcome.counts.refreshes, 50), "{counts}");
    assert!(at_least(outcome.counts.lost, 20), "{counts}");
    assert!(at_least(outcome.counts.thefts, 5), "{counts}");
    assert!(at_least(outcome.counts.slept, 1), "{counts}");
    assert!(at_least(outcome.counts.logouts, 5), "{counts}");
}

#[rstest]
#[case::two_successors_on_sqlite(Place::sqlite(), 1, ("unguarded generation", sessions::RIGHT), "b")]
#[case::two_successors(Place::postgres(), 2, ("unguarded generation", sessions::RIGHT), "b")]
#[case::grace_without_end(Place::sqlite(), 1, ("", sessions::ENDLESS_GRACE), "c")]
#[tokio::test(flavor = "multi_thread")]
async fn a_planted_bug_of_sessions_is_found(
    #[case] place: Place,
    #[case] count: usize,
    #[case] plant: (&'static str, &'static [(&'static str, &'static str)]),
    #[case] promise: &str,
) {
    println!("{place}: sessions, with the planted bug {plant:?}, which must be found");
    let outcome = sessions::run(place, count, PLANT_SESSION_SECONDS, SEED, plant).await;
    let violations = outcome.violations;
    let is_found = violations.iter().any(|text| text.starts_with(promise));
    assert!(is_found, "{}", violations.join("\n"));
}

/// Guarantee M1.
#[rstest]
#[case::one_on_sqlite(Place::sqlite(), 1)]
#[case::two_on_postgres(Place::postgres(), 2)]
#[tokio::test(flavor = "multi_thread")]
async fn every_account_gets_its_mail(#[case] place: Place, #[case] count: usize) {
    let seconds = number("CHAOS_SECONDS", MAIL_SECONDS);
    let seed = number("CHAOS_SEED", SEED);
    println!("{place}: {count} instance(s), mails for {seconds} s, CHAOS_SEED={seed}");
    let outcome = mails::run(place, count, seconds, seed, "").await;
    let violations = outcome.violations;
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    let kills = outcome.kills_a_minute;
    assert!(kills >= KILLS_A_MINUTE / 2, "only {kills} kills a minute");
    assert!(outcome.disturbances >= 2, "{}", outcome.disturbances);
    assert!(outcome.accounts > 50, "only {} accounts", outcome.accounts);
    // The moments at which a mail is sent twice were met.
    assert!(outcome.repeated > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_does_not_commit_with_its_cause_is_found() {
    let plant = "defer INSERT mail_queue";
    let outcome = mails::run(Place::postgres(), 2, PLANT_MAIL_SECONDS, SEED, plant).await;
    let is_found = outcome.violations.iter().any(|text| text.starts_with('a'));
    assert!(is_found, "{:?}", outcome.violations);
}
