//! Rate limits: how many requests a client, a user or a session may make in a window of time.
//!
//! A request is counted before any costly work. The window slides:
//! requests of the previous window count by the fraction of it that still overlaps. The estimate
//! takes two numbers for each, however high the limit is; see Cloudflare, "How we built rate
//! limiting capable of scaling to millions of domains" (2017).

use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::sync::Cache;

use crate::config::Rate;
use crate::http::problem::{Problem, ProblemType};
use crate::platform::client::{Client, Network};
use crate::platform::clock::Clock;
use crate::platform::limits::{Bound, Limit};

/// The maximum number of tracked clients, users or sessions. Beyond it, the least active ones are
/// forgotten.
const MAX_TRACKED: usize = 100_000;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    Limit {
        what: "Signups of a client",
        bound: Bound::Setting("RATE_LIMIT_SIGNUP"),
        effect: "429 `rate-limited`",
    },
    Limit {
        what: "Clients, users or sessions that a rate limit tracks",
        bound: Bound::Count(MAX_TRACKED),
        effect: "the least active ones are forgotten",
    },
];

/// A limit, with the counts of each client; or of each user or session, by its key.
pub struct RateLimit<K: Eq + Hash = Network> {
    rate: Rate,
    clock: Arc<dyn Clock>,
    clients: Cache<K, Arc<Mutex<Window>>>,
}

/// The counts of one of them in the current and the previous window.
struct Window {
    begun: Instant,
    before: f64,
    now: f64,
}

impl<K: Copy + Eq + Hash + Send + Sync + 'static> RateLimit<K> {
    /// Creates a limit with no requests counted.
    #[must_use]
    pub fn new(rate: Rate, clock: Arc<dyn Clock>) -> Self {
        Self {
            rate,
            clock,
            clients: Cache::builder()
                .max_capacity(MAX_TRACKED as u64)
                .time_to_idle(rate.window * 2)
                .build(),
        }
    }

    /// Counts a request of a user or a session, unless it has used its share.
    ///
    /// # Errors
    /// The problem to respond with. The request is then not counted.
    pub fn admit_one(&self, key: K) -> Result<(), Problem> {
        let now = self.clock.instant();
        let counted = self.with_window(key, now, |window| window.count(self.rate, now));
        counted.map_err(|wait| refused("Too many requests came from this user.", wait))
    }

    /// Whether a user or a session has not used its share. Nothing is counted.
    ///
    /// # Errors
    /// The problem to respond with.
    pub fn has_room(&self, key: K) -> Result<(), Problem> {
        let now = self.clock.instant();
        let room = self.with_window(key, now, |window| window.room(self.rate, now));
        room.map_err(|wait| refused("Too many requests came from this user.", wait))
    }

    fn with_window<T>(&self, key: K, now: Instant, then: impl FnOnce(&mut Window) -> T) -> T {
        let window = self.clients.get_with(key, || {
            Arc::new(Mutex::new(Window {
                begun: now,
                before: 0.0,
                now: 0.0,
            }))
        });
        // Nothing that can panic runs under the lock.
        let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
        then(&mut window)
    }
}

/// The problem of too many requests.
fn refused(what: &str, wait: Duration) -> Problem {
    let detail = format!("{what} Nothing was done.");
    Problem::new(ProblemType::RATE_LIMITED, detail).retry_after(wait)
}

impl RateLimit {
    /// Counts a request, unless its client has used its share, or all clients of a network that
    /// contains it have used theirs.
    ///
    /// # Errors
    /// The problem to respond with. The request is then not counted.
    pub fn admit(&self, client: Client) -> Result<(), Problem> {
        self.count(client, self.clock.instant())
            .map_err(|wait| refused("Too many requests came from this address.", wait).closing())
    }

    /// Counts a request of a client at this time; or returns when there is room again.
    fn count(&self, client: Client, now: Instant) -> Result<(), Duration> {
        for (done, (network, clients)) in client.networks().enumerate() {
            let requests = self.rate.requests.saturating_mul(clients);
            let rate = Rate {
                requests,
                ..self.rate
            };
            let counted = self.with_window(network, now, |window| window.count(rate, now));
            if let Err(wait) = counted {
                // Refused: it does not count for the networks within this one.
                for (network, _) in client.networks().take(done) {
                    self.with_window(network, now, Window::uncount);
                }
                return Err(wait);
            }
        }
        Ok(())
    }
}

impl Window {
    fn count(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.room(rate, now)?;
        self.now += 1.0;
        Ok(())
    }

    /// Whether one more request has room; or when it will have.
    fn room(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let length = rate.window.as_secs_f64();
        let mut into = now.saturating_duration_since(self.begun).as_secs_f64() / length;
        if into >= 1.0 {
            self.before = if into < 2.0 { self.now } else { 0.0 };
            self.now = 0.0;
            let windows = into.floor();
            self.begun += rate.window.mul_f64(windows);
            into -= windows;
        }
        let most = f64::from(rate.requests);
        if self.before * (1.0 - into) + self.now < most {
            return Ok(());
        }
        // The time at which the rest in the window is small enough for one more.
        let share_at = if self.now >= most {
            2.0 - most / self.now
        } else {
            1.0 - (most - self.now) / self.before
        };
        Err(Duration::from_secs_f64((share_at - into).max(0.0) * length))
    }

    /// Reverts the last count.
    fn uncount(&mut self) {
        self.now = (self.now - 1.0).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::platform::clock::SystemClock;

    fn limit(requests: u32) -> RateLimit {
        let window = Duration::from_mins(1);
        RateLimit::new(Rate { requests, window }, Arc::new(SystemClock))
    }

    fn ip(text: &str) -> Client {
        Client::new(text.parse().expect("an address"), false)
    }

    #[test]
    fn the_limit_holds_in_a_window_and_as_it_slides() {
        let limit = limit(10);
        let (client, begun) = (ip("192.0.2.1"), Instant::now());
        let at = |seconds: f64| limit.count(client, begun + Duration::from_secs_f64(seconds));
        for _ in 0..10 {
            assert_eq!(at(0.0), Ok(()));
        }
        let wait = at(0.0).expect_err("its share is used");
        assert_eq!(wait, Duration::from_mins(1));
        assert!(at(59.0).is_err());
        // The first leaves the window as it slides, the second a tenth of it later.
        assert_eq!(at(60.1), Ok(()));
        assert!(at(65.9).is_err());
        // Half of the ten remain, and the one.
        for _ in 0..5 {
            assert_eq!(at(90.1), Ok(()));
        }
        let wait = at(90.1).expect_err("its share is used");
        assert!(at(90.0 + wait.as_secs_f64()).is_err());
        assert_eq!(at(90.2 + wait.as_secs_f64()), Ok(()));
        for _ in 0..10 {
            assert_eq!(at(1000.0), Ok(()));
        }
    }

    #[rstest]
    #[case(1)]
    #[case(2)]
    #[case(20)]
    fn a_persistent_client_gets_its_limit_in_each_window(#[case] requests: u32) {
        let limit = limit(requests);
        let (client, begun) = (ip("192.0.2.1"), Instant::now());
        let asked = (0..6000).map(|tenth| begun + Duration::from_millis(100) * tenth);
        let admitted = asked
            .filter(|now| limit.count(client, *now).is_ok())
            .count();
        // Ten windows.
        let wanted = 10 * usize::try_from(requests).expect("few");
        assert!(
            (wanted - 1..=wanted + 1).contains(&admitted),
            "{admitted} of {wanted}"
        );
    }

    #[test]
    fn each_client_has_its_own_share() {
        let limit = limit(1);
        let now = Instant::now();
        for client in [
            "192.0.2.1",
            "192.0.2.2",
            "2001:db8:0:1::1",
            "2001:db8:0:2::1",
        ] {
            assert_eq!(limit.count(ip(client), now), Ok(()));
            assert!(limit.count(ip(client), now).is_err());
        }
        assert!(limit.count(ip("2001:db8:0:1:ffff::2"), now).is_err());
    }

    /// How many of these clients are admitted, each of them as often as it is.
    fn admitted(limit: &RateLimit, now: Instant, clients: impl Iterator<Item = Client>) -> usize {
        let each = |client| {
            (0..100)
                .take_while(|_| limit.count(client, now).is_ok())
                .count()
        };
        clients.map(each).sum()
    }

    #[test]
    fn a_client_with_a_whole_network_does_not_count_as_many() {
        let now = Instant::now();
        let site =
            |site: u16| (0..=u16::MAX).map(move |n| ip(&format!("2001:db8:{site:x}:{n:x}::1")));
        // From 256 networks of 64 bits, in one of 56.
        let limit = limit(3);
        assert_eq!(admitted(&limit, now, site(0).take(256)), 3 * 4);
        // From all of a site, which are 256 of 56 bits.
        assert_eq!(admitted(&limit, now, site(0).step_by(64)), 3 * (16 - 4));
        assert_eq!(admitted(&limit, now, site(1).step_by(64)), 3 * 16);
    }

    /// A refused request of a neighbour does not count against the network they share.
    #[test]
    fn refusals_count_nowhere() {
        let limit = limit(2);
        let now = Instant::now();
        let (greedy, other) = (ip("2001:db8:0:1::1"), ip("2001:db8:0:2::1"));
        for _ in 0..1_000 {
            let _ = limit.count(greedy, now);
        }
        assert_eq!(admitted(&limit, now, [other].into_iter()), 2);
        // Nor against the narrower one, if the wider network has used its share.
        let more = (3..5).map(|n| ip(&format!("2001:db8:0:{n}::1")));
        assert_eq!(admitted(&limit, now, more), 4);
        let late = ip("2001:db8:0:5::1");
        for _ in 0..1_000 {
            assert!(limit.count(late, now).is_err());
        }
        let window = limit.clients.get(&late.network()).expect("kept");
        let now = window.lock().expect("no panic").now;
        assert!(now.abs() < f64::EPSILON, "{now}");
    }
}
