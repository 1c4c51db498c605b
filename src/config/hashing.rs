//! Settings of password hashing.

use super::reader::Sources;
use super::setting::{Setting, fixed, text, worded};
use super::values::number;

/// The maximum of hashing threads.
const MAX_HASHING_THREADS: usize = 1024;

/// The highest weight of a class.
const MAX_WEIGHT: u32 = 100;

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
    text(fixed(
        "HASH_SHARES",
        "hashing.shares",
        "3:2:2:1",
        "How lanes and places in the queue are shared while several classes wait: logins from known devices, other \
         logins, signups, changes of an account. Weights from 1 to 100. A class alone has everything.",
    )),
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
    /// How lanes and places are shared.
    pub shares: HashShares,
    /// The `nice` value of the threads, relative to those that serve requests: 0 to 19.
    pub nice: i32,
}

/// The weights of the classes of work, each at least 1. The share of a class is its weight by the
/// sum of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashShares {
    /// Logins from known devices.
    pub known: u32,
    /// Other logins.
    pub login: u32,
    /// Signups.
    pub signup: u32,
    /// Work on an account that exists.
    pub account: u32,
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
        shares: s.take("hashing.shares", shares),
        nice: s.take("hashing.nice", |text| number(text, (0, 19))),
    }
}

/// `3:2:2:1`: the weights, in the order of [`HashShares`].
fn shares(text: &str) -> Result<HashShares, String> {
    let weights: Option<Vec<u32>> = text
        .split(':')
        .map(|weight| number(weight, (1, MAX_WEIGHT)).ok())
        .collect();
    match weights.as_deref() {
        Some(&[known, login, signup, account]) => Ok(HashShares {
            known,
            login,
            signup,
            account,
        }),
        _ => Err(format!(
            "must be four weights from 1 to {MAX_WEIGHT}, such as 3:2:2:1"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_four_weights() {
        let default = SETTINGS.iter().find(|one| one.env == "HASH_SHARES");
        let default = default.and_then(|setting| setting.default).expect("a row");
        let weights = |shares: HashShares| {
            let HashShares {
                known,
                login,
                signup,
                account,
            } = shares;
            [known, login, signup, account]
        };
        assert_eq!(shares(default).map(weights), Ok([3, 2, 2, 1]));
        assert_eq!(shares("1:2:3:100").map(weights), Ok([1, 2, 3, 100]));
        for wrong in [
            "",
            "3",
            "3:2:2",
            "3:2:2:1:1",
            "3:2:2:0",
            "3:2:2:101",
            "3:2:2:-1",
            "3:2:2:",
            "3 2 2 1",
            "3: 2:2:1",
            "a:b:c:d",
            "0.5:1:1:1",
        ] {
            assert!(shares(wrong).is_err(), "{wrong}");
        }
    }
}
