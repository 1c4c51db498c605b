//! Breached passwords: making the file of a list, its size and memory, the time of a look-up, false positives.
//!
//! `cargo bench --bench breached` makes a list of ten million passwords in the form of Pwned Passwords, prints a table
//! and writes `target/bench/breached.json`. `BREACHED_COUNT` sets another number. Memory is the most that the process
//! has had so far, so it is measured in the order of the table. On the disk, the file is in the page cache, as it was
//! just read: what a disk adds to it is not measured.

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "this benchmark starts no server")]
mod common;

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use common::{Failure, machine, write_json};
use serde_json::json;
use signup_service::breached::build::{Select, build};
use signup_service::breached::filter::{Filter, MAX_FILE};
use signup_service::breached::{Breached, BreachedMetrics};
use signup_service::platform::metrics::Metrics;

/// Look-ups of each kind.
const LOOK_UPS: u64 = 1_000_000;

/// Look-ups of each kind that change threads.
const TASKS: u64 = 100_000;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("breached: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a benchmark has no settings file; its variable is named in its documentation"
    )]
    let count = std::env::var("BREACHED_COUNT").map_or(Ok(10_000_000), |text| text.parse())?;
    let folder = tempfile::tempdir_in(concat!(env!("CARGO_MANIFEST_DIR"), "/target"))?;
    let (list, out) = (folder.path().join("list"), folder.path().join("out"));
    let list_bytes = write_list(&list, count)?;
    let before = peak_kib()?;

    let begun = Instant::now();
    let built = build(&list, Select::Top(count), &out, &mut |_, _| {})?;
    let build_time = begun.elapsed();
    let build_kib = peak_kib()? - before;

    let begun = Instant::now();
    let filter = Filter::open(&out, MAX_FILE)?;
    let load_time = begun.elapsed();

    let (hit, found) = look_up(&filter, 0);
    let (miss, false_positives) = look_up(&filter, count);
    if found != LOOK_UPS.min(count) {
        return Err("a password of the list was not found".into());
    }
    let disk = Disk::measure(&out, count)?;
    println!(
        "\n{count} passwords, a list of {} MB",
        list_bytes / 1_000_000
    );
    let rows = [
        (
            "making the file",
            format!("{:.1} s", build_time.as_secs_f64()),
        ),
        (
            "memory that it took",
            format!("{:.1} MB", megabytes(build_kib * 1024)),
        ),
        (
            "the file, and its memory",
            format!("{:.1} MB", megabytes(built.bytes)),
        ),
        ("reading the file", format!("{} ms", load_time.as_millis())),
        ("a look-up that hits", format!("{} ns", hit.as_nanos())),
        ("a look-up that misses", format!("{} ns", miss.as_nanos())),
        ("false positives in a million", false_positives.to_string()),
        (
            "opening it on the disk",
            format!("{} ms", disk.open.as_millis()),
        ),
        (
            "a look-up that hits there",
            format!("{} ns", disk.hit.as_nanos()),
        ),
        (
            "a look-up that misses there",
            format!("{} ns", disk.miss.as_nanos()),
        ),
        (
            "the same, off the serving thread",
            format!("{} ns", disk.task.as_nanos()),
        ),
    ];
    for (what, figure) in &rows {
        println!("{what:<32} {figure:>12}");
    }
    let report = json!({
        "machine": machine(),
        "passwords": count,
        "list_bytes": list_bytes,
        "file_bytes": built.bytes,
        "build_seconds": build_time.as_secs_f64(),
        "build_bytes": build_kib * 1024,
        "load_milliseconds": load_time.as_millis(),
        "hit_nanoseconds": hit.as_nanos(),
        "miss_nanoseconds": miss.as_nanos(),
        "false_positives_in_a_million": false_positives,
        "disk_open_milliseconds": disk.open.as_millis(),
        "disk_hit_nanoseconds": disk.hit.as_nanos(),
        "disk_miss_nanoseconds": disk.miss.as_nanos(),
        "disk_task_nanoseconds": disk.task.as_nanos(),
    });
    write_json("breached", &report)
}

/// The same list, read in place.
struct Disk {
    open: Duration,
    hit: Duration,
    miss: Duration,
    /// A miss, as a login of the service has it: on another thread.
    task: Duration,
}

impl Disk {
    fn measure(path: &Path, count: u64) -> Result<Self, Failure> {
        let begun = Instant::now();
        let filter = Filter::open(path, 0)?;
        let open = begun.elapsed();
        let (hit, found) = look_up(&filter, 0);
        if found != LOOK_UPS.min(count) {
            return Err("a password of the list was not found on the disk".into());
        }
        let (miss, _) = look_up(&filter, count);
        Ok(Self {
            open,
            hit,
            miss,
            task: Self::task(path, count)?,
        })
    }

    fn task(path: &Path, count: u64) -> Result<Duration, Failure> {
        let list = Breached::open(path, 0, BreachedMetrics::new(&Metrics::new()?)?)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let passwords: Vec<String> = (count..count + TASKS).map(password).collect();
        let begun = Instant::now();
        runtime.block_on(async {
            for password in &passwords {
                black_box(list.has_known(password.as_bytes()).await);
            }
        });
        Ok(begun.elapsed() / u32::try_from(TASKS).unwrap_or(u32::MAX))
    }
}

fn password(number: u64) -> String {
    format!("Password-{number}!")
}

/// Writes a list of these passwords, each with another count. Returns its size in bytes.
fn write_list(path: &Path, count: u64) -> Result<u64, Failure> {
    let mut list = BufWriter::new(File::create(path)?);
    for number in 0..count {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, password(number).as_bytes());
        writeln!(list, "{}:{}", hex::encode_upper(hash), number % 1_000 + 1)?;
    }
    list.flush()?;
    Ok(std::fs::metadata(path)?.len())
}

/// Looks passwords up from this one on. Returns the mean time, and how many were found.
fn look_up(filter: &Filter, from: u64) -> (Duration, u64) {
    let passwords: Vec<String> = (from..from + LOOK_UPS).map(password).collect();
    let begun = Instant::now();
    let has = |password: &&String| {
        let found = black_box(filter.contains(black_box(password.as_bytes())));
        found.is_ok_and(|found| found)
    };
    let found = passwords.iter().filter(has).count();
    let mean = begun.elapsed() / u32::try_from(LOOK_UPS).unwrap_or(u32::MAX);
    (mean, found as u64)
}

/// The most memory that the process has had, in KiB.
fn peak_kib() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kib.ok_or("no figure of memory")?.parse()?)
}

fn megabytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a figure of three digits")]
    let bytes = bytes as f64;
    bytes / 1e6
}
