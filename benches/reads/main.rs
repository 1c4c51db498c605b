//! `GET /users/{id}`: the service compared with a bare handler that runs the same `SELECT` and with a handler that
//! returns a constant; and the cost of observability: logs, metrics, and traces of one request in a hundred.
//!
//! Every server is a separate process with the same number of threads and connections, under the same load generator
//! (`wrk`). Rounds alternate between the servers, so that a slow moment of the machine affects all of them; a figure is
//! the median of its rounds.
//!
//! `cargo bench --bench reads` prints a table and writes `target/bench/reads.json`.

mod bare;
#[path = "../common/mod.rs"]
mod common;
mod load;
mod observed;
mod token;

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use common::{Failure, Server, machine, migrate, write_json};
use serde_json::{Value, json};

const ROUNDS: usize = 5;
const SECONDS: u32 = 3;
const USERS: u128 = 10_000;
/// How many times the bare handler's reads a second the service must reach.
const WANTED_TO_BARE: [(&str, f64); 2] = [("sqlite", 1.5), ("postgres", 2.2)];
/// The share of the constant handler's reads a second that the service must reach.
const WANTED_TO_CONSTANT: f64 = 0.55;
/// The share of its own reads a second that the service must keep when it is observed.
const WANTED_OBSERVED: f64 = 0.90;

/// The share of its own reads a second that the service must keep when reads need a token.
const WANTED_WITH_TOKEN: f64 = 0.90;

/// The service whose reads need an access token.
const WITH_TOKEN: &str = "token";
/// The service with logs, metrics and traces.
const OBSERVED: &str = "observed";
/// The service without traces, which logs only that it has started.
const UNOBSERVED: &str = "unobserved";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["serve-bare", url] => bare::serve(Some(url)).map(|()| true),
        ["serve-constant"] => bare::serve(None).map(|()| true),
        ["serve-collector"] => observed::serve_collector().map(|()| true),
        _ => run(),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("reads: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A server under load, with the results of its rounds: for each number of connections.
struct Candidate {
    name: &'static str,
    database: &'static str,
    server: Server,
    /// The access token that its requests have.
    bearer: Option<String>,
    rounds: [Vec<load::Round>; load::CONNECTIONS.len()],
}

fn run() -> Result<bool, Failure> {
    load::check()?;
    let folder = tempfile::tempdir()?;
    let script = load::write_script(folder.path(), USERS)?;
    let postgres = throwaway_servers::postgres::server().database();
    let mut candidates = vec![Candidate::new(
        "constant",
        "none",
        bench(&["serve-constant"])?,
    )];
    let collector = bench(&["serve-collector"])?;
    for (database, _) in WANTED_TO_BARE {
        let url = match database {
            "sqlite" => format!("sqlite://{}", folder.path().join("bench.db").display()),
            _ => postgres.url(),
        };
        let log = folder.path().join(format!("{database}.log"));
        eprintln!("preparing {USERS} users on {database}");
        migrate(&url)?;
        bare::fill(&url, USERS)?;
        candidates.push(Candidate::new(
            "bare",
            database,
            bench(&["serve-bare", &url])?,
        ));
        candidates.push(Candidate::new(
            "service",
            database,
            Server::service(&url, &log, &[])?,
        ));
        let log = folder.path().join(format!("{database}-token.log"));
        let server = Server::service(&url, &log, &token::SETTINGS)?;
        let bearer = token::bearer(&server, &url)?;
        candidates.push(Candidate {
            bearer: Some(bearer),
            ..Candidate::new(WITH_TOKEN, database, server)
        });
        for (name, settings) in [
            (OBSERVED, observed::everything(&collector)),
            (UNOBSERVED, observed::nothing()),
        ] {
            let log = folder.path().join(format!("{database}-{name}.log"));
            let settings: Vec<_> = settings.iter().map(|(k, v)| (*k, v.as_str())).collect();
            let server = Server::service(&url, &log, &settings)?;
            candidates.push(Candidate::new(name, database, server));
        }
    }
    for round in 1..=ROUNDS {
        for (place, connections) in load::CONNECTIONS.into_iter().enumerate() {
            eprintln!("round {round} of {ROUNDS}, {connections} connections");
            for candidate in &mut candidates {
                let address = &candidate.server.address;
                let bearer = candidate.bearer.as_deref();
                let round = load::round(address, bearer, &script, connections, SECONDS)?;
                candidate.rounds[place].push(round);
            }
        }
    }
    for candidate in candidates.iter().filter(|one| one.name == OBSERVED) {
        let rounds = candidate.rounds.iter().flatten();
        let reads: f64 = rounds.map(|round| round.per_second).sum::<f64>() * f64::from(SECONDS);
        observed::check_spans_left(&candidate.server.address, reads)?;
    }
    report(&candidates)
}

fn report(candidates: &[Candidate]) -> Result<bool, Failure> {
    let mut rows = Vec::new();
    let mut comparisons = Vec::new();
    let mut tokens = Vec::new();
    let mut reached = true;
    for (place, connections) in load::CONNECTIONS.into_iter().enumerate() {
        rows.extend(table(candidates, place, connections));
        for wanted in WANTED_TO_BARE {
            let compared = compare(candidates, place, wanted);
            reached &= compared["reached"] == true;
            comparisons.push(compared);
            let with_token = with_token(candidates, place, wanted.0);
            reached &= with_token["reached"] == true;
            tokens.push(with_token);
        }
    }
    let metrics = observed::metrics_of_a_request();
    println!("\nmetrics of a request: {:.2} microseconds", metrics * 1e6);
    let mut left = serde_json::Map::new();
    for (database, _) in WANTED_TO_BARE {
        let per_second = |name| find(candidates, name, database).per_second(0);
        let observed = observed::share_left(per_second(OBSERVED), per_second(UNOBSERVED), metrics);
        reached &= observed >= WANTED_OBSERVED;
        println!(
            "observed / unobserved on {database}, the cost of metrics taken off: {:.1} % \
             (wanted: {:.0} %)",
            observed * 100.0,
            WANTED_OBSERVED * 100.0
        );
        left.insert(database.to_owned(), json!(thousandths(observed)));
    }
    write_json(
        "reads",
        &json!({
            "what": "GET /users/{id}",
            "machine": machine(),
            "users": USERS,
            "rounds": ROUNDS,
            "seconds_a_round": SECONDS,
            "rows": rows,
            "service": comparisons,
            "with_token": tokens,
            "metrics_of_a_request_seconds": metrics,
            "observed_to_unobserved": left,
            "wanted_observed": WANTED_OBSERVED,
        }),
    )?;
    Ok(reached)
}

/// Prints the figures of each candidate with a number of connections.
fn table(candidates: &[Candidate], place: usize, connections: u32) -> Vec<Value> {
    println!(
        "\nGET /users/{{id}}, {USERS} users at random, {connections} connections, median of \
         {ROUNDS} rounds of {SECONDS} s"
    );
    println!(
        "{:<10} {:<9} {:>11} {:>8} {:>8}",
        "handler", "database", "requests/s", "p50 ms", "p99 ms"
    );
    let row = |candidate: &Candidate| {
        let per_second = candidate.per_second(place);
        let [p50, p99] = [
            candidate.median(place, |round| round.p50_ms),
            candidate.median(place, |round| round.p99_ms),
        ];
        let (name, database) = (candidate.name, candidate.database);
        println!("{name:<10} {database:<9} {per_second:>11.0} {p50:>8.2} {p99:>8.2}");
        json!({
            "handler": name,
            "database": database,
            "connections": connections,
            "requests_per_second": per_second.round(),
            "p50_ms": p50,
            "p99_ms": p99,
        })
    };
    candidates.iter().map(row).collect()
}

/// Compares the service with the bare handler and the constant one.
fn compare(candidates: &[Candidate], place: usize, (database, wanted): (&str, f64)) -> Value {
    let [service, bare] = ["service", "bare"].map(|name| find(candidates, name, database));
    let constant = find(candidates, "constant", "none");
    let to_bare = service.per_second(place) / bare.per_second(place);
    let to_constant = service.per_second(place) / constant.per_second(place);
    let [p99, bare_p99] = [service, bare].map(|one| one.median(place, |round| round.p99_ms));
    let reached = to_bare >= wanted && to_constant >= WANTED_TO_CONSTANT && p99 <= bare_p99;
    println!(
        "service on {database}: {to_bare:.2} times bare (wanted: {wanted}), {:.0} % of constant \
         (wanted: {:.0} %), p99 {p99:.2} ms (bare: {bare_p99:.2} ms)",
        to_constant * 100.0,
        WANTED_TO_CONSTANT * 100.0
    );
    json!({
        "database": database,
        "connections": load::CONNECTIONS[place],
        "to_bare": thousandths(to_bare),
        "wanted_to_bare": wanted,
        "to_constant": thousandths(to_constant),
        "wanted_to_constant": WANTED_TO_CONSTANT,
        "p99_ms": p99,
        "bare_p99_ms": bare_p99,
        "reached": reached,
    })
}

/// Compares the service whose reads need a token with the one whose reads do not.
fn with_token(candidates: &[Candidate], place: usize, database: &str) -> Value {
    let per_second = |name| find(candidates, name, database).per_second(place);
    let share = per_second(WITH_TOKEN) / per_second("service");
    println!(
        "with a token on {database}: {:.1} % of without (wanted: {:.0} %)",
        share * 100.0,
        WANTED_WITH_TOKEN * 100.0
    );
    json!({
        "database": database,
        "connections": load::CONNECTIONS[place],
        "to_without": thousandths(share),
        "wanted": WANTED_WITH_TOKEN,
        "reached": share >= WANTED_WITH_TOKEN,
    })
}

fn thousandths(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn find<'a>(candidates: &'a [Candidate], name: &str, database: &str) -> &'a Candidate {
    let is_it = |one: &&Candidate| one.name == name && one.database == database;
    candidates.iter().find(is_it).expect("each was started")
}

impl Candidate {
    fn new(name: &'static str, database: &'static str, server: Server) -> Self {
        Self {
            name,
            database,
            server,
            bearer: None,
            rounds: Default::default(),
        }
    }

    fn per_second(&self, place: usize) -> f64 {
        self.median(place, |round| round.per_second)
    }

    fn median(&self, place: usize, figure: impl Fn(&load::Round) -> f64) -> f64 {
        let mut figures: Vec<f64> = self.rounds[place].iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    }
}

/// Starts one of the servers of this program.
fn bench(arguments: &[&str]) -> Result<Server, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).stdout(Stdio::piped());
    let mut process = command.spawn()?;
    let mut lines = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
    let address = lines.next().ok_or("the bare server did not start")??;
    Ok(Server { process, address })
}
