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

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};

use common::{Failure, Server, machine, migrate, write_json};
use serde_json::json;

const ROUNDS: usize = 5;
const SECONDS: u32 = 4;
const USERS: u128 = 1_000;
/// The share of the bare handler's reads a second that the service must reach.
const WANTED_RATIO: f64 = 0.85;
/// The share of its own reads a second that the service must keep when it is observed.
const WANTED_OBSERVED: f64 = 0.90;

/// The service with logs, metrics and traces.
const OBSERVED: &str = "observed";
/// The service without traces, which logs only that it has started.
const UNOBSERVED: &str = "unobserved";

const DATABASES: [&str; 2] = ["sqlite", "postgres"];

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

/// A server under load, with the results of its rounds.
struct Candidate {
    name: &'static str,
    database: &'static str,
    server: Server,
    rounds: Vec<load::Round>,
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
    for database in DATABASES {
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
        for candidate in &mut candidates {
            eprintln!(
                "round {round} of {ROUNDS}: {} on {}, {SECONDS} s",
                candidate.name, candidate.database
            );
            let round = load::round(&candidate.server.address, &script, SECONDS)?;
            candidate.rounds.push(round);
        }
    }
    for candidate in candidates.iter().filter(|one| one.name == OBSERVED) {
        let rounds = candidate.rounds.iter();
        let reads: f64 = rounds.map(|round| round.per_second).sum::<f64>() * f64::from(SECONDS);
        observed::check_spans_left(&candidate.server.address, reads)?;
    }
    report(&candidates)
}

fn report(candidates: &[Candidate]) -> Result<bool, Failure> {
    println!(
        "\nGET /users/{{id}}, {} connections, median of {ROUNDS} rounds of {SECONDS} s",
        load::CONNECTIONS
    );
    println!(
        "{:<10} {:<9} {:>11} {:>8} {:>8}",
        "handler", "database", "requests/s", "p50 ms", "p99 ms"
    );
    let mut rows = Vec::new();
    for candidate in candidates {
        let figures = [
            candidate.median(|round| round.per_second),
            candidate.median(|round| round.p50_ms),
            candidate.median(|round| round.p99_ms),
        ];
        println!(
            "{:<10} {:<9} {:>11.0} {:>8.2} {:>8.2}",
            candidate.name, candidate.database, figures[0], figures[1], figures[2]
        );
        rows.push(json!({
            "handler": candidate.name,
            "database": candidate.database,
            "requests_per_second": figures[0].round(),
            "p50_ms": figures[1],
            "p99_ms": figures[2],
        }));
    }
    let metrics = observed::metrics_of_a_request();
    println!("metrics of a request: {:.2} microseconds", metrics * 1e6);
    let mut left = serde_json::Map::new();
    let mut ratios = serde_json::Map::new();
    let mut reached = true;
    for database in DATABASES {
        let per_second = |name| {
            candidates
                .iter()
                .find(|candidate| candidate.name == name && candidate.database == database)
                .map_or(f64::NAN, |candidate| {
                    candidate.median(|round| round.per_second)
                })
        };
        let observed = observed::share_left(per_second(OBSERVED), per_second(UNOBSERVED), metrics);
        reached &= observed >= WANTED_OBSERVED;
        println!(
            "observed / unobserved on {database}, the cost of metrics taken off: {:.1} % \
             (wanted: {:.0} %)",
            observed * 100.0,
            WANTED_OBSERVED * 100.0
        );
        left.insert(
            database.to_owned(),
            json!((observed * 1000.0).round() / 1000.0),
        );
        let ratio = per_second("service") / per_second("bare");
        reached &= ratio >= WANTED_RATIO;
        println!(
            "service / bare on {database}: {:.1} % (wanted: {:.0} %)",
            ratio * 100.0,
            WANTED_RATIO * 100.0
        );
        ratios.insert(
            database.to_owned(),
            json!((ratio * 1000.0).round() / 1000.0),
        );
    }
    write_json(
        "reads",
        &json!({
            "what": "GET /users/{id}",
            "machine": machine(),
            "connections": load::CONNECTIONS,
            "rounds": ROUNDS,
            "seconds_a_round": SECONDS,
            "rows": rows,
            "service_to_bare": ratios,
            "wanted_ratio": WANTED_RATIO,
            "metrics_of_a_request_seconds": metrics,
            "observed_to_unobserved": left,
            "wanted_observed": WANTED_OBSERVED,
        }),
    )?;
    Ok(reached)
}

impl Candidate {
    fn new(name: &'static str, database: &'static str, server: Server) -> Self {
        Self {
            name,
            database,
            server,
            rounds: Vec::new(),
        }
    }

    fn median(&self, figure: impl Fn(&load::Round) -> f64) -> f64 {
        let mut figures: Vec<f64> = self.rounds.iter().map(figure).collect();
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
