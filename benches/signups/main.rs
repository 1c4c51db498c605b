//! Signups: the hash rate of a core, the share of it that reaches clients, and the capacity left for reads.
//!
//! `cargo bench --bench signups` prints a table and writes `target/bench/signups.json`. It fails if a figure misses
//! its target. `-- fair-shares` measures only the fair shares, `-- flood`
//! only the flood of guesses. The load comes from this process and shares the machine
//! with the service.

#[path = "../common/mod.rs"]
mod common;
mod fair;
mod flood;
mod hashing;
mod http;

use std::process::ExitCode;
use std::time::Duration;

use common::{Failure, machine, threads, write_json};
use hashing::Hashing;
use serde_json::{Value, json};

/// The target of a figure.
#[derive(Clone, Copy)]
enum Wanted {
    AtLeast(f64),
    AtMost(f64),
    /// No target; the figure is for comparison.
    Nothing,
}

/// One row of the report.
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    wanted: Wanted,
    /// The measurements that it is computed from.
    detail: String,
}

impl Figure {
    fn is_reached(&self) -> bool {
        match self.wanted {
            Wanted::AtLeast(least) => self.value >= least,
            Wanted::AtMost(most) => self.value <= most,
            Wanted::Nothing => true,
        }
    }

    fn wanted(&self) -> String {
        match self.wanted {
            Wanted::AtLeast(least) => format!(">= {least}"),
            Wanted::AtMost(most) => format!("<= {most}"),
            Wanted::Nothing => String::new(),
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "figure": self.name,
            "value": (self.value * 1000.0).round() / 1000.0,
            "unit": self.unit,
            "wanted": self.wanted(),
            "reached": self.is_reached(),
            "detail": self.detail,
        })
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("signups: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Failure> {
    let mut hashing = Hashing::default();
    for (name, part) in [
        ("fair-shares", fair::measure as http::Part),
        ("flood", flood::measure),
    ] {
        if std::env::args().any(|argument| argument == name) {
            let mut figures = Vec::new();
            http::measure_part(&hashing, &mut figures, part)?;
            return report(&figures);
        }
    }
    hashing.measure();
    let mut over_http = Vec::new();
    http::measure(&hashing, &mut over_http)?;
    // Again, minutes later.
    hashing.measure();
    let mut figures = hashing.report();
    figures.extend(over_http);
    report(&figures)
}

fn report(figures: &[Figure]) -> Result<bool, Failure> {
    let machine = machine();
    println!("\nSignups on {machine}");
    println!(
        "{:<58} {:>10} {:<5} {:>8}  ",
        "figure", "value", "", "wanted"
    );
    for figure in figures {
        let verdict = if figure.is_reached() {
            ""
        } else {
            "NOT REACHED"
        };
        println!(
            "{:<58} {:>10.2} {:<5} {:>8}  {verdict}\n    {}",
            figure.name,
            figure.value,
            figure.unit,
            figure.wanted(),
            figure.detail
        );
    }
    write_json(
        "signups",
        &json!({
            "machine": machine,
            "cores": threads(),
            "cost": hashing::COST,
            "figures": figures.iter().map(Figure::to_json).collect::<Vec<_>>(),
        }),
    )?;
    Ok(figures.iter().all(Figure::is_reached))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
