//! Rate limits: how much one client may ask for in some time.
//!
//! An operation that declares a limit asks [`RateLimit::admit`] before it does anything that costs. The window
//! slides: what came in the window before counts by the part of it that still overlaps. The
//! estimate takes two numbers a client, however high the limit is; see Cloudflare, "How we built
//! rate limiting capable of scaling to millions of domains" (2017).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::sync::Cache;

use crate::config::Rate;
use crate::http::problem::{Problem, ProblemType};
use crate::platform::client::{Client, Network};
use crate::platform::clock::Clock;

/// Clients that are kept track of. Beyond it, those that ask least are forgotten.
const MAX_CLIENTS: u64 = 100_000;

/// One limit, with what each client has asked for.
pub struct RateLimit {
    rate: Rate,
    clock: Arc<dyn Clock>,
    clients: Cache<Network, Arc<Mutex<Window>>>,
}

/// What a client has asked for in this window and in the one before.
struct Window {
    begun: Instant,
    before: f64,
    now: f64,
}

impl RateLimit {
    /// Nobody has asked for anything yet.
    #[must_use]
    pub fn new(rate: Rate, clock: Arc<dyn Clock>) -> Self {
        Self {
            rate,
            clock,
            clients: Cache::builder()
                .max_capacity(MAX_CLIENTS)
                .time_to_idle(rate.window * 2)
                .build(),
        }
    }

    /// Counts a request, unless its client has had its share, or all the clients in a network that
    /// it is in have had theirs.
    ///
    /// # Errors
    /// The problem to answer with. The request is not counted then.
    pub fn admit(&self, client: Client) -> Result<(), Problem> {
        self.count(client, self.clock.instant())
            .map_err(|retry_after| {
                Problem::new(
                    ProblemType::RATE_LIMITED,
                    "Too many requests came from this address. Nothing was done.",
                )
                .retry_after(retry_after)
                .closing()
            })
    }

    /// Counts a request of a client at this moment; or says when there is room again.
    fn count(&self, client: Client, now: Instant) -> Result<(), Duration> {
        for (done, (network, clients)) in client.networks().enumerate() {
            let requests = self.rate.requests.saturating_mul(clients);
            let rate = Rate {
                requests,
                ..self.rate
            };
            let counted = self.with_window(network, now, |window| window.count(rate, now));
            if let Err(wait) = counted {
                // It is refused: the networks within this one have not had it.
                for (network, _) in client.networks().take(done) {
                    self.with_window(network, now, Window::uncount);
                }
                return Err(wait);
            }
        }
        Ok(())
    }

    fn with_window<T>(
        &self,
        network: Network,
        now: Instant,
        then: impl FnOnce(&mut Window) -> T,
    ) -> T {
        let window = self.clients.get_with(network, || {
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

impl Window {
    fn count(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
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
            self.now += 1.0;
            return Ok(());
        }
        // When so little of what came is left in the window that one more has room.
        let share_at = if self.now >= most {
            2.0 - most / self.now
        } else {
            1.0 - (most - self.now) / self.before
        };
        Err(Duration::from_secs_f64((share_at - into).max(0.0) * length))
    }

    /// Takes back what was counted last.
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
    fn so_many_in_a_window_and_then_as_it_slides() {
        let limit = limit(10);
        let (client, begun) = (ip("192.0.2.1"), Instant::now());
        let at = |seconds: f64| limit.count(client, begun + Duration::from_secs_f64(seconds));
        for _ in 0..10 {
            assert_eq!(at(0.0), Ok(()));
        }
        let wait = at(0.0).expect_err("it had its share");
        assert_eq!(wait, Duration::from_mins(1));
        assert!(at(59.0).is_err());
        // The first leaves the window as it slides on, the second a tenth of it later.
        assert_eq!(at(60.1), Ok(()));
        assert!(at(65.9).is_err());
        // Half of the ten are left, and the one.
        for _ in 0..5 {
            assert_eq!(at(90.1), Ok(()));
        }
        let wait = at(90.1).expect_err("it had its share");
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
    fn who_keeps_asking_gets_so_many_a_window(#[case] requests: u32) {
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
    fn who_has_a_whole_network_is_not_as_many_clients() {
        let now = Instant::now();
        let site =
            |site: u16| (0..=u16::MAX).map(move |n| ip(&format!("2001:db8:{site:x}:{n:x}::1")));
        // Of 256 networks of 64 bits, in one of 56.
        let limit = limit(3);
        assert_eq!(admitted(&limit, now, site(0).take(256)), 3 * 4);
        // Of all of a site, which are 256 of 56 bits.
        assert_eq!(admitted(&limit, now, site(0).step_by(64)), 3 * (16 - 4));
        assert_eq!(admitted(&limit, now, site(1).step_by(64)), 3 * 16);
    }

    /// What a neighbour is refused is not taken from those it shares a network with.
    #[test]
    fn refusals_count_nowhere() {
        let limit = limit(2);
        let now = Instant::now();
        let (greedy, other) = (ip("2001:db8:0:1::1"), ip("2001:db8:0:2::1"));
        for _ in 0..1_000 {
            let _ = limit.count(greedy, now);
        }
        assert_eq!(admitted(&limit, now, [other].into_iter()), 2);
        // Nor, where the wider network has had its share, from the narrower one.
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
