//! Faults at random times, from a seed.

use std::fmt;
use std::time::{Duration, Instant};

use crate::instances::{Instances, Place};
use crate::proxy::Mode;

/// Numbers that a seed repeats (xorshift64*, Vigna 2016).
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        let mut chance = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            chance.next();
        }
        chance
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below the bound.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).expect("small");
        usize::try_from((self.next() >> 16) % bound).expect("small")
    }

    pub fn millis(&mut self, from: usize, to: usize) -> Duration {
        let millis = from + self.below(to - from);
        Duration::from_millis(u64::try_from(millis).expect("small"))
    }
}

/// What was done to the service.
#[derive(Default)]
pub struct Faults {
    pub kills: u64,
    stops: u64,
    cuts: u64,
    database_stops: u64,
    resets: u64,
    holes: u64,
    delays: u64,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} kills, {} stops; database: {} sessions ended, {} stops; network: {} resets, \
             {} black holes, {} delays",
            self.kills,
            self.stops,
            self.cuts,
            self.database_stops,
            self.resets,
            self.holes,
            self.delays
        )
    }
}

/// Makes faults for so long.
pub async fn make(instances: &Instances, seed: u64, time: Duration) -> Faults {
    let mut chance = Chance::new(seed);
    let mut faults = Faults::default();
    let begun = Instant::now();
    while begun.elapsed() < time {
        tokio::time::sleep(chance.millis(200, 1_200)).await;
        let number = chance.below(instances.count());
        match chance.below(if instances.place.has_network() { 14 } else { 7 }) {
            0..5 => faults.kills += u64::from(instances.signal(number, "KILL")),
            5..7 => {
                let stopped = instances.signal(number, "STOP");
                faults.stops += u64::from(stopped);
                tokio::time::sleep(chance.millis(100, 2_000)).await;
                instances.signal(number, "CONT");
            }
            more => disturb(&instances.place, more - 7, &mut chance, &mut faults).await,
        }
    }
    faults
}

/// Does something to the database, or to the network before it.
async fn disturb(place: &Place, what: usize, chance: &mut Chance, faults: &mut Faults) {
    let Place::Postgres {
        server,
        database,
        proxy,
    } = place
    else {
        return;
    };
    let time = chance.millis(100, 2_000);
    match what {
        0 | 1 => {
            // Every session, wherever its transaction is.
            let end = format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
                database.name()
            );
            server.sql("postgres", &end);
            faults.cuts += 1;
        }
        2 => {
            server.signal("STOP");
            tokio::time::sleep(time).await;
            server.signal("CONT");
            faults.database_stops += 1;
        }
        3 | 4 => {
            proxy.reset();
            faults.resets += 1;
        }
        5 => {
            proxy.set(Mode::Hole);
            tokio::time::sleep(time).await;
            proxy.set(Mode::Pass);
            faults.holes += 1;
        }
        _ => {
            proxy.set(Mode::Delay(chance.millis(5, 300)));
            tokio::time::sleep(time).await;
            proxy.set(Mode::Pass);
            faults.delays += 1;
        }
    }
}
