//! Throughput of lanes compared with the `bcrypt` crate, both in one thread.
//!
//! Rounds alternate between the candidates, so that a slow moment of the machine affects all of
//! them; a figure is the median of its rounds.
//!
//! `cargo bench -p bcrypt-lanes` prints a table. Append `-- 8` for cost 8 instead of 12, which is
//! quicker.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bcrypt_lanes::{Cost, Hash, Lane, MAX_LANES, advance};

const COST: u32 = 12;
const ROUNDS: usize = 7;
const PASSWORD: &[u8] = b"correct horse battery staple";
/// Iterations at a time, as in a scheduler: a few milliseconds with eight lanes.
const SLICE: u32 = 40;

struct Candidate {
    name: &'static str,
    /// How many hashes of the given cost its work equals.
    hashes: f64,
    run: fn(Cost) -> Duration,
    times: Vec<Duration>,
}

fn main() {
    let cost = std::env::args()
        .find_map(|word| word.parse().ok())
        .unwrap_or(COST);
    let cost = Cost::new(cost).expect("the cost is from 5 to 31");

    let mut candidates = [
        candidate("bcrypt crate", 1.0, the_crate),
        candidate("1 lane", 1.0, |cost| at_once(&[cost; 1])),
        candidate("2 lanes", 2.0, |cost| at_once(&[cost; 2])),
        candidate("4 lanes", 4.0, |cost| at_once(&[cost; 4])),
        candidate("6 lanes", 6.0, |cost| at_once(&[cost; 6])),
        candidate("8 lanes", 8.0, |cost| at_once(&[cost; 8])),
        candidate("4 lanes, in slices", 4.0, |cost| in_slices(4, cost)),
        candidate("8 lanes, in slices", 8.0, |cost| in_slices(8, cost)),
        candidate("8 lanes, joining and leaving", 8.0, staggered),
        candidate("8 lanes, 4 of half the cost", 6.0, two_costs),
    ];
    for _ in 0..ROUNDS {
        for candidate in &mut candidates {
            candidate.times.push((candidate.run)(cost));
        }
    }

    println!(
        "cost {}, {ROUNDS} rounds, slices of {SLICE} iterations",
        cost.get()
    );
    println!(
        "{:<30} {:>9} {:>9} {:>12} {:>11}",
        "", "batch/ms", "hash/ms", "batch/crate", "throughput"
    );
    let of_crate = candidates[0].median();
    for candidate in &mut candidates {
        let batch = candidate.median();
        let hash = batch / candidate.hashes;
        println!(
            "{:<30} {batch:>9.2} {hash:>9.2} {:>12.2} {:>11.2}",
            candidate.name,
            batch / of_crate,
            of_crate / hash,
        );
    }
}

fn candidate(name: &'static str, hashes: f64, run: fn(Cost) -> Duration) -> Candidate {
    Candidate {
        name,
        hashes,
        run,
        times: Vec::new(),
    }
}

impl Candidate {
    /// The median time in milliseconds.
    fn median(&mut self) -> f64 {
        self.times.sort();
        self.times[ROUNDS / 2].as_secs_f64() * 1e3
    }
}

fn the_crate(cost: Cost) -> Duration {
    let start = Instant::now();
    let key = [PASSWORD, b"\0"].concat();
    black_box(bcrypt::bcrypt(cost.get(), black_box([0; 16]), &key));
    start.elapsed()
}

fn lane(number: u8, cost: Cost) -> Lane {
    Lane::new(PASSWORD, black_box([number; 16]), cost).expect("the password is short")
}

fn finish(lane: Lane) -> Hash {
    lane.finish().expect("the lane is done")
}

fn at_once(costs: &[Cost]) -> Duration {
    let start = Instant::now();
    let mut lanes: Vec<Lane> = (0..)
        .zip(costs)
        .map(|(number, cost)| lane(number, *cost))
        .collect();
    advance(&mut lanes, u32::MAX);
    black_box(lanes.into_iter().map(finish).collect::<Vec<_>>());
    start.elapsed()
}

fn in_slices(lanes: u8, cost: Cost) -> Duration {
    let start = Instant::now();
    let mut lanes: Vec<Lane> = (0..lanes).map(|number| lane(number, cost)).collect();
    while !lanes.iter().all(Lane::is_done) {
        advance(&mut lanes, SLICE);
    }
    black_box(lanes.into_iter().map(finish).collect::<Vec<_>>());
    start.elapsed()
}

/// Eight lanes at different stages; whenever one is done, a new one takes its place. The time is
/// that of as many iterations as one hash has.
fn staggered(cost: Cost) -> Duration {
    let mut lanes = Vec::new();
    for number in 0..8 {
        lanes.push(lane(number, cost));
        advance(&mut lanes, cost.iterations() / 8);
    }
    let mut done = replace_the_done(&mut lanes, cost);
    let start = Instant::now();
    let mut left = cost.iterations();
    while left > 0 {
        // Ends where the first lane does, so that there are always eight unfinished lanes.
        let shortest = lanes.iter().map(Lane::remaining).min();
        let slice = SLICE.min(left).min(shortest.unwrap_or(left));
        advance(&mut lanes, slice);
        left -= slice;
        done += replace_the_done(&mut lanes, cost);
    }
    let time = start.elapsed();
    assert_eq!(done, 1 + MAX_LANES, "one before the start, eight after it");
    time
}

fn replace_the_done(lanes: &mut Vec<Lane>, cost: Cost) -> usize {
    let done: Vec<Hash> = lanes
        .extract_if(.., |lane| lane.is_done())
        .map(finish)
        .collect();
    lanes.extend(done.iter().map(|_| lane(0, cost)));
    black_box(done).len()
}

/// Four lanes have twice the iterations of the other four, and continue without them.
fn two_costs(cost: Cost) -> Duration {
    let half = Cost::new(cost.get() - 1).expect("the cost is from 5 to 31");
    at_once(&[cost, half, cost, half, cost, half, cost, half])
}
