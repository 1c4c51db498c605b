//! One thread that hashes, with lanes and with others' implementations.

use std::hint::black_box;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bcrypt_lanes::{Cost, Lane, advance};

use crate::{Figure, Wanted, median, millis};

/// The cost that the service has by default.
pub const COST: u32 = 12;

const ROUNDS: usize = 7;

/// As the service does it: a few milliseconds at a time.
const SLICE: u32 = 32;

const PASSWORD: &[u8] = b"correct horse battery staple";

/// What was measured of one thread.
pub struct Hashing {
    /// One hash of the crate `bcrypt`, in seconds.
    pub one_by_crate: f64,
    /// Four lanes to their end, in seconds.
    four_lanes: f64,
    /// Eight lanes to their end, in seconds.
    eight_lanes: f64,
    /// Hashes a second of John the Ripper, brought to the same cost.
    john: Option<f64>,
}

/// Measures in rounds, so that a slow moment of the machine meets all.
pub fn measure() -> Hashing {
    let (mut by_crate, mut four, mut eight) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        eprintln!("hashing at cost {COST}: round {round} of {ROUNDS}");
        by_crate.push(seconds(|| {
            let _ = black_box(bcrypt::hash_with_salt(PASSWORD, COST, [1; 16]));
        }));
        four.push(seconds(|| lanes(4)));
        eight.push(seconds(|| lanes(8)));
    }
    Hashing {
        one_by_crate: median(by_crate),
        four_lanes: median(four),
        eight_lanes: median(eight),
        john: john(),
    }
}

/// Hashes a second of a thread with eight lanes, at this moment.
pub fn rate() -> f64 {
    8.0 / seconds(|| lanes(8))
}

fn seconds(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}

fn lanes(count: usize) {
    let cost = Cost::new(COST).expect("a cost that bcrypt has");
    let lane = |number| Lane::new(PASSWORD, [number; 16], cost).expect("a short password");
    let mut lanes: Vec<Lane> = (0..).map(lane).take(count).collect();
    while !lanes.iter().all(Lane::is_done) {
        advance(&mut lanes, SLICE);
    }
    for lane in lanes {
        black_box(lane.finish().ok());
    }
}

/// Hashes a second of `john --test`, whose bcrypt has cost 5, brought to ours.
fn john() -> Option<f64> {
    eprintln!("John the Ripper");
    let ask = |program: &str| {
        Command::new(program)
            .args(["--test=5", "--format=bcrypt"])
            .env("OMP_NUM_THREADS", "1")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()
    };
    // Debian puts it where not everybody's path goes.
    let output = ask("john").or_else(|| ask("/usr/sbin/john"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // `Raw:	1739 c/s real, 1739 c/s virtual`
    let raw = text.lines().find_map(|line| line.strip_prefix("Raw:"))?;
    let rate: f64 = raw.split_whitespace().next()?.parse().ok()?;
    Some(rate / f64::from(1 << (COST - 5)))
}

impl Hashing {
    /// Hashes a second of a thread with eight lanes.
    pub fn rate(&self) -> f64 {
        8.0 / self.eight_lanes
    }

    /// One hash of the crate.
    pub fn one(&self) -> Duration {
        Duration::from_secs_f64(self.one_by_crate)
    }

    /// The figures of one thread.
    pub fn report(&self, figures: &mut Vec<Figure>) {
        let (one, rate) = (self.one_by_crate, self.rate());
        figures.push(Figure {
            name: "hashes/s of a thread, 8 lanes, against the crate bcrypt",
            value: rate * one,
            unit: "times",
            wanted: Wanted::AtLeast(4.3),
            detail: format!("{rate:.2}/s against {:.2}/s", 1.0 / one),
        });
        figures.push(Figure {
            name: "4 lanes together, against one hash of the crate",
            value: self.four_lanes / one,
            unit: "times",
            wanted: Wanted::AtMost(1.10),
            detail: format!(
                "{:.1} ms against {:.1} ms",
                self.four_lanes * 1e3,
                millis(self.one())
            ),
        });
        match self.john {
            Some(john) => figures.push(Figure {
                name: "hashes/s of a thread, 8 lanes, against John the Ripper",
                value: rate / john,
                unit: "times",
                wanted: Wanted::AtLeast(1.5),
                detail: format!("{rate:.2}/s against {john:.2}/s, its cost 5 brought to {COST}"),
            }),
            None => println!("John the Ripper is not installed: not compared"),
        }
    }
}
