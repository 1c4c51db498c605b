//! Faults at random times, from a seed.

use std::fmt;
use std::process::Command;
use std::time::{Duration, Instant};

use sqlx::Connection as _;

use crate::instances::{Instances, Place};
use crate::proxy::{Mode, Proxy};
use throwaway_servers::redis::Server;

/// The time limit for PostgreSQL to recover from a crash.
const RECOVERED_WITHIN: Duration = Duration::from_secs(30);

/// A seeded random number generator (xorshift64*, Vigna 2016).
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

/// The faults that were injected.
#[derive(Default)]
pub struct Faults {
    pub kills: u64,
    stops: u64,
    cuts: u64,
    database_crashes: u64,
    database_stops: u64,
    redis_kills: u64,
    redis_stops: u64,
    redis_losses: u64,
    redis_refusals: u64,
    resets: u64,
    holes: u64,
    delays: u64,
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} kills, {} stops; database: {} connections ended, {} crashes, {} stops; Redis: {} kills, {} stops, \
             {} losses, {} refusals; network: {} resets, {} black holes, {} delays",
            self.kills,
            self.stops,
            self.cuts,
            self.database_crashes,
            self.database_stops,
            self.redis_kills,
            self.redis_stops,
            self.redis_losses,
            self.redis_refusals,
            self.resets,
            self.holes,
            self.delays
        )
    }
}

/// Injects faults for some time, of `longest` milliseconds each at most.
pub async fn make(instances: &Instances, seed: u64, time: Duration, longest: usize) -> Faults {
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
                tokio::time::sleep(chance.millis(100, longest)).await;
                instances.signal(number, "CONT");
            }
            _ => disturb(&instances.place, longest, &mut chance, &mut faults).await,
        }
    }
    faults
}

/// Disturbs the database, Redis, or the network in front of either.
async fn disturb(place: &Place, longest: usize, chance: &mut Chance, faults: &mut Faults) {
    let Place::Postgres {
        server,
        database,
        proxy,
        redis,
    } = place
    else {
        return;
    };
    let time = chance.millis(100, longest);
    match (chance.below(12), redis) {
        (0, _) => {
            faults.database_crashes += u64::from(crash(place).await);
        }
        (1, _) => {
            // Every connection, at any point of its transaction.
            let end = format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
                database.name()
            );
            server.sql("postgres", &end);
            faults.cuts += 1;
        }
        (2, _) => {
            server.signal("STOP");
            tokio::time::sleep(time).await;
            server.signal("CONT");
            faults.database_stops += 1;
        }
        (3..5, Some(redis)) => disturb_network(&redis.proxy, time, chance, faults).await,
        (5..9, Some(redis)) => disturb_redis(&redis.server, time, chance, faults).await,
        _ => disturb_network(proxy, time, chance, faults).await,
    }
}

/// Kills the process of one connection: PostgreSQL then ends all of them, and recovers from its log.
async fn crash(place: &Place) -> bool {
    let connect = async || sqlx::PgConnection::connect(&place.url()).await;
    let Ok(mut witness) = connect().await else {
        return false;
    };
    let one = "SELECT pid FROM pg_stat_activity WHERE application_name = 'signup-service' LIMIT 1";
    let Ok(process) = sqlx::query_scalar::<_, i32>(one)
        .fetch_one(&mut witness)
        .await
    else {
        // No instance is connected at this moment.
        return false;
    };
    let kill = format!("kill -s KILL {process}");
    let _ = Command::new("sh").args(["-c", &kill]).status();
    let begun = Instant::now();
    let is_late = || begun.elapsed() > RECOVERED_WITHIN;
    while witness.ping().await.is_ok() {
        assert!(!is_late(), "no crash");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while connect().await.is_err() {
        assert!(!is_late(), "no recovery");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

async fn disturb_redis(server: &Server, time: Duration, chance: &mut Chance, faults: &mut Faults) {
    match chance.below(5) {
        0 => {
            server.kill();
            tokio::time::sleep(time).await;
            server.restart();
            faults.redis_kills += 1;
        }
        1 => {
            server.signal("STOP");
            tokio::time::sleep(time).await;
            server.signal("CONT");
            faults.redis_stops += 1;
        }
        2 | 3 => {
            server.command(&["FLUSHALL"]);
            faults.redis_losses += 1;
        }
        _ => {
            server.command(&["CONFIG", "SET", "maxmemory", "1"]);
            tokio::time::sleep(time).await;
            server.command(&["CONFIG", "SET", "maxmemory", "0"]);
            faults.redis_refusals += 1;
        }
    }
}

async fn disturb_network(proxy: &Proxy, time: Duration, chance: &mut Chance, faults: &mut Faults) {
    match chance.below(4) {
        0 | 1 => {
            proxy.reset();
            faults.resets += 1;
        }
        2 => {
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
