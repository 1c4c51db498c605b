//! Hashing in one thread, with lanes and with other implementations.

use std::hint::black_box;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bcrypt_lanes::{Cost, Lane, advance};

use crate::{Figure, Wanted, median};

/// The default cost of the service.
pub const COST: u32 = 12;

const ROUNDS: usize = 7;

/// How long threads hash to measure their rate.
const RATE_TIME: Duration = Duration::from_secs(2);

/// Iterations at a time, as in the service: a few milliseconds.
const SLICE: u32 = 32;

const PASSWORD: &[u8] = b"correct horse battery staple";

/// Times of one thread, in seconds.
///
/// Of each, the fastest round counts. Other load on the machine can only make a round slower; and a neighbour that
/// shares the core slows down many lanes, which use most of the core, more than one hash, which waits most of the
/// time. So a median would compare the neighbours.
#[derive(Default)]
pub struct Hashing {
    /// One hash of the crate `bcrypt`.
    by_crate: Vec<f64>,
    /// Four lanes to completion.
    four_lanes: Vec<f64>,
    /// Eight lanes to completion.
    eight_lanes: Vec<f64>,
    /// One hash of John the Ripper, scaled to the same cost.
    john: Vec<f64>,
}

/// Measures the hashes a second that `threads` make together, with eight lanes each, as in the service.
pub fn rate(threads: usize) -> f64 {
    let begun = Instant::now();
    let sets = std::thread::scope(|scope| {
        let work = || {
            let mut sets = 0_u32;
            while begun.elapsed() < RATE_TIME {
                lanes(8);
                sets += 1;
            }
            f64::from(sets) / begun.elapsed().as_secs_f64()
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let rates = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        rates.map(|rate| rate.expect("no panic")).sum::<f64>()
    });
    8.0 * sets
}

fn fastest(rounds: &[f64]) -> f64 {
    rounds.iter().copied().fold(f64::INFINITY, f64::min)
}

fn seconds(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}

fn lanes(count: usize) {
    let cost = Cost::new(COST).expect("a valid cost");
    let lane = |number| Lane::new(PASSWORD, [number; 16], cost).expect("a short password");
    let mut lanes: Vec<Lane> = (0..).map(lane).take(count).collect();
    while !lanes.iter().all(Lane::is_done) {
        advance(&mut lanes, SLICE);
    }
    for lane in lanes {
        black_box(lane.finish().ok());
    }
}

/// Hashes a second of `john --test`, scaled from its cost 5 to ours.
fn john() -> Option<f64> {
    eprintln!("John the Ripper");
    let run = |program: &str| {
        Command::new(program)
            .args(["--test=5", "--format=bcrypt"])
            .env("OMP_NUM_THREADS", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()
    };
    // Debian installs it in a folder that may be missing from PATH.
    let output = run("john").or_else(|| run("/usr/sbin/john"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // `Raw:	1739 c/s real, 1739 c/s virtual`
    let raw = text.lines().find_map(|line| line.strip_prefix("Raw:"))?;
    let rate: f64 = raw.split_whitespace().next()?.parse().ok()?;
    Some(rate / f64::from(1 << (COST - 5)))
}

impl Hashing {
    /// Measures in rounds, so that a slow moment of the machine affects all.
    pub fn measure(&mut self) {
        for round in 1..=ROUNDS {
            eprintln!("hashing at cost {COST}: round {round} of {ROUNDS}");
            self.by_crate.push(seconds(|| {
                let _ = black_box(bcrypt::hash_with_salt(PASSWORD, COST, [1; 16]));
            }));
            self.four_lanes.push(seconds(|| lanes(4)));
            self.eight_lanes.push(seconds(|| lanes(8)));
        }
        self.john.extend(john().map(|rate| 1.0 / rate));
    }

    /// The median time of one hash of the crate.
    pub fn one(&self) -> Duration {
        Duration::from_secs_f64(median(self.by_crate.clone()))
    }

    /// The figures of one thread.
    pub fn report(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        let one = fastest(&self.by_crate);
        let (four, rate) = (fastest(&self.four_lanes), 8.0 / fastest(&self.eight_lanes));
        figures.push(Figure {
            name: "hashes/s of a thread, 8 lanes, against the crate bcrypt",
            value: rate * one,
            unit: "times",
            wanted: Wanted::AtLeast(4.3),
            detail: format!("{rate:.2}/s against {:.2}/s", 1.0 / one),
        });
        figures.push(Figure {
            name: "4 lanes together, against one hash of the crate",
            value: four / one,
            unit: "times",
            wanted: Wanted::AtMost(1.10),
            detail: format!("{:.1} ms against {:.1} ms", four * 1e3, one * 1e3),
        });
        if self.john.is_empty() {
            println!("John the Ripper is not installed: not compared");
        } else {
            let john = 1.0 / fastest(&self.john);
            figures.push(Figure {
                name: "hashes/s of a thread, 8 lanes, against John the Ripper",
                value: rate / john,
                unit: "times",
                wanted: Wanted::AtLeast(1.5),
                detail: format!("{rate:.2}/s against {john:.2}/s, scaled from cost 5 to {COST}"),
            });
        }
        let detail = |name: &str, rounds: &[f64]| {
            let (fastest, median) = (fastest(rounds) * 1e3, median(rounds.to_vec()) * 1e3);
            eprintln!("{name}: fastest {fastest:.1} ms, median {median:.1} ms");
        };
        detail("crate bcrypt", &self.by_crate);
        detail("4 lanes", &self.four_lanes);
        detail("8 lanes", &self.eight_lanes);
        figures
    }
}
