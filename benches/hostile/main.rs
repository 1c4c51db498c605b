//! Hostile input: the cost of the worst known input of each parser, and of whole requests made of such input.
//!
//! The parsers and their inputs are those of the fuzzing in `tests/fuzz`, including its corpus. A figure is the
//! minimum of many rounds: the cost of the work, without other load on the machine. For whole requests, it is the
//! time of the serving threads, as counted by the kernel, with the service as a process.
//!
//! `cargo bench --bench hostile` prints tables, writes `target/bench/hostile.json`, and fails if an input costs a
//! serving thread more than 0.2 ms.

#[path = "../common/mod.rs"]
mod common;
#[path = "../../tests/fuzz/targets.rs"]
mod targets;
mod whole;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use common::{Failure, machine, write_json};
use serde_json::json;
use targets::{Target, targets};

/// The most that a request may cost a serving thread.
const LIMIT: Duration = Duration::from_micros(200);

/// An input is parsed at least this often, and for at least this long.
const ROUNDS: u32 = 20;
const TIME: Duration = Duration::from_millis(5);

/// A row of a table.
struct Row {
    what: String,
    detail: String,
    time: Duration,
    limit: Duration,
}

/// The parser of what an operator imports: lines of 64 KiB, and on no serving thread.
const IMPORT: &str = "import";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hostile: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, Failure> {
    let mut rows = Vec::new();
    let targets = targets();
    for target in targets.iter().filter(|target| target.name != IMPORT) {
        rows.push(worst(target)?);
    }
    print("the worst input of each parser", &rows);
    let requests = whole::requests()?;
    print("a whole request, on the serving threads", &requests);
    let all = rows.iter().chain(&requests);
    let is_within = all.clone().all(|row| row.time <= row.limit);
    let report: Vec<_> = all
        .map(|row| {
            json!({
                "what": row.what,
                "detail": row.detail,
                "microseconds": micros(row.time),
                "wanted": micros(row.limit),
            })
        })
        .collect();
    write_json("hostile", &json!({"machine": machine(), "rows": report}))?;
    Ok(is_within)
}

/// The slowest of a parser's known inputs.
fn worst(target: &Target) -> Result<Row, Failure> {
    let mut inputs = (target.worst)();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    if let Ok(files) = std::fs::read_dir(folder.join(target.name)) {
        for file in files {
            inputs.push(std::fs::read(file?.path())?);
        }
    }
    inputs.extend(target.words.iter().map(|word| word.as_bytes().to_vec()));
    inputs.retain(|input| input.len() <= target.longest);
    for input in &inputs {
        (target.check)(input);
    }
    let count = inputs.len();
    let timed = inputs
        .into_iter()
        .map(|input| (least(target, &input), input));
    let (time, input) = timed
        .max_by_key(|(time, _)| *time)
        .ok_or("a parser without inputs")?;
    let begin: String = String::from_utf8_lossy(&input).chars().take(24).collect();
    Ok(Row {
        what: target.name.to_owned(),
        detail: format!("of {count}: {} bytes, {begin:?}…", input.len()),
        time,
        limit: LIMIT,
    })
}

fn least(target: &Target, input: &[u8]) -> Duration {
    let begun = Instant::now();
    let mut least = Duration::MAX;
    let mut rounds = 0;
    while rounds < ROUNDS || begun.elapsed() < TIME {
        let round = Instant::now();
        std::hint::black_box((target.parse)(std::hint::black_box(input)));
        least = least.min(round.elapsed());
        rounds += 1;
    }
    least
}

fn micros(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}

fn print(title: &str, rows: &[Row]) {
    println!("\n{title}");
    println!("{:<34} {:>8} {:>8}", "", "µs", "wanted");
    for row in rows {
        let mark = if row.time > row.limit {
            "  TOO SLOW"
        } else {
            ""
        };
        println!(
            "{:<34} {:>8.1} {:>8.1}{mark}  {}",
            row.what,
            micros(row.time),
            micros(row.limit),
            row.detail
        );
    }
}
