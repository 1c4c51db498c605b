//! Settings of password hashing.

use super::reader::Sources;
use super::setting::{Setting, fixed, worded};
use super::values::number;

/// The maximum of hashing threads.
const MAX_HASHING_THREADS: usize = 1024;

/// The rows of this group.
pub(super) const SETTINGS: &[Setting] = &[
    fixed(
        "BCRYPT_COST",
        "hashing.cost",
        "12",
        "The cost of bcrypt, 4 to 31. A warning is logged below 10.",
    ),
    worded(
        "BCRYPT_THREADS",
        "hashing.threads",
        "one per core",
        "Threads that hash passwords.",
    ),
    fixed(
        "BCRYPT_LANES",
        "hashing.lanes",
        "8",
        "Hashes that a thread advances together, 1 to 8. Four take hardly longer than one; eight hash \
         more passwords a second, but each takes longer.",
    ),
    fixed(
        "BCRYPT_QUEUE",
        "hashing.queue",
        "256",
        "Passwords that may wait for a lane. Beyond it the response is 503.",
    ),
    fixed(
        "BCRYPT_NICE",
        "hashing.nice",
        "3",
        "The priority of hashing below that of the threads that serve requests, and of everything else that runs in \
         the same container or session: from 0, no difference, to 19, the lowest. On Linux only.",
    ),
];

/// Settings of password hashing.
#[derive(Debug, Clone, Copy)]
pub struct HashingSettings {
    /// The cost of bcrypt: the work is 2 to this power.
    pub cost: u32,
    /// Threads that hash.
    pub threads: usize,
    /// Hashes that a thread advances together, 1 to 8.
    pub lanes: usize,
    /// Passwords that may wait for a lane.
    pub queue: usize,
    /// The `nice` value of the threads, relative to those that serve requests: 0 to 19.
    pub nice: i32,
}

pub(super) fn read(s: &mut Sources) -> HashingSettings {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    HashingSettings {
        cost: s.take("hashing.cost", |text| number(text, (4, 31))),
        threads: s.take_or("hashing.threads", cores.min(MAX_HASHING_THREADS), |text| {
            number(text, (1, MAX_HASHING_THREADS))
        }),
        lanes: s.take("hashing.lanes", |text| number(text, (1, 8))),
        queue: s.take("hashing.queue", |text| number(text, (1, 100_000))),
        nice: s.take("hashing.nice", |text| number(text, (0, 19))),
    }
}
