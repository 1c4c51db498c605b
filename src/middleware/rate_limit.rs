//! Rate limits: how much one client may ask for in some time.
//!
//! A slice opts in by asking [`RateLimit::admit`] before it does anything that costs. The window
//! slides: what came in the window before counts by the part of it that still overlaps. The
//! estimate takes two numbers a client, however high the limit is; see Cloudflare, "How we built
//! rate limiting capable of scaling to millions of domains" (2017).

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::http::header::HeaderValue;
use ipnet::IpNet;
use moka::sync::Cache;

use crate::config::Rate;
use crate::platform::problem::{Problem, ProblemType};

/// Clients that are kept track of. Beyond it, those that ask least are forgotten.
const MAX_CLIENTS: u64 = 100_000;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// One limit, with what each client has asked for.
pub struct RateLimit {
    rate: Rate,
    trusted_proxies: Vec<IpNet>,
    clients: Cache<IpAddr, Arc<Mutex<Window>>>,
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
    pub fn new(rate: Rate, trusted_proxies: Vec<IpNet>) -> Self {
        Self {
            rate,
            trusted_proxies,
            clients: Cache::builder()
                .max_capacity(MAX_CLIENTS)
                .time_to_idle(rate.window * 2)
                .build(),
        }
    }

    /// Counts a request, unless its client has had its share.
    ///
    /// # Errors
    /// The problem to answer with. The request is not counted then.
    pub fn admit(&self, request: &HttpRequest) -> Result<(), Problem> {
        let Some(client) = self.client(request) else {
            return Ok(());
        };
        self.count(client, Instant::now()).map_err(|retry_after| {
            Problem::new(
                ProblemType::RateLimited,
                "Too many requests came from this address. Nothing was done.",
            )
            .retry_after(retry_after)
            .closing()
        })
    }

    /// Counts a request of a client at this moment; or says when there is room again.
    fn count(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        let window = self.clients.get_with(whole_network(client), || {
            Arc::new(Mutex::new(Window {
                begun: now,
                before: 0.0,
                now: 0.0,
            }))
        });
        // Nothing that can panic runs under the lock.
        let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
        window.count(self.rate, now)
    }

    /// The client's address: the peer's or, where the peer is a trusted proxy, the last one of
    /// `X-Forwarded-For` that is no trusted proxy. What stands before it can be made up.
    fn client(&self, request: &HttpRequest) -> Option<IpAddr> {
        let peer = request.peer_addr()?.ip().to_canonical();
        let is_trusted = |ip: &IpAddr| self.trusted_proxies.iter().any(|net| net.contains(ip));
        if !is_trusted(&peer) {
            return Some(peer);
        }
        let mut client = peer;
        let lines: Vec<_> = request.headers().get_all(FORWARDED_FOR).collect();
        // As bytes: a client's own part of a line need not be text.
        let parts = |line: &'_ HeaderValue| {
            line.as_bytes()
                .split(|byte| *byte == b',')
                .map(address)
                .collect::<Vec<_>>()
        };
        for address in lines.into_iter().flat_map(parts).rev() {
            let Some(ip) = address else {
                break;
            };
            client = ip;
            if !is_trusted(&client) {
                break;
            }
        }
        Some(client)
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
}

/// Reads an address of `X-Forwarded-For`, which some proxies write with a port.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let ip: Option<IpAddr> = bare.unwrap_or(text).parse().ok();
    let with_port = || {
        let address: std::net::SocketAddr = text.parse().ok()?;
        Some(address.ip())
    };
    Some(ip.or_else(with_port)?.to_canonical())
}

/// An IPv6 client has a whole network of addresses to choose from: the first 64 bits name it.
fn whole_network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use rstest::rstest;

    use super::*;

    fn limit(requests: u32, trusted: &[&str]) -> RateLimit {
        let window = Duration::from_mins(1);
        let trusted = trusted.iter().map(|net| net.parse().expect("a network"));
        RateLimit::new(Rate { requests, window }, trusted.collect())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn so_many_in_a_window_and_then_as_it_slides() {
        let limit = limit(10, &[]);
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
        let limit = limit(requests, &[]);
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
        let limit = limit(1, &[]);
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

    #[rstest]
    #[case::no_proxy("192.0.2.1", &["198.51.100.9"], "192.0.2.1")]
    #[case::proxy("10.0.0.1", &["198.51.100.9"], "198.51.100.9")]
    #[case::made_up("10.0.0.1", &["1.1.1.1, 198.51.100.9"], "198.51.100.9")]
    #[case::two_lines("10.0.0.1", &["1.1.1.1", "198.51.100.9"], "198.51.100.9")]
    #[case::two_proxies("10.0.0.1", &["198.51.100.9, 10.0.0.2"], "198.51.100.9")]
    #[case::no_header("10.0.0.1", &[], "10.0.0.1")]
    #[case::nonsense("10.0.0.1", &["unknown"], "10.0.0.1")]
    #[case::nonsense_before("10.0.0.1", &["unknown, 10.0.0.2"], "10.0.0.2")]
    #[case::port("10.0.0.1", &["198.51.100.9:4711"], "198.51.100.9")]
    #[case::six("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1")]
    #[case::brackets("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1")]
    #[case::four_in_six("::ffff:10.0.0.1", &["::ffff:198.51.100.9"], "198.51.100.9")]
    fn the_client_is_whom_a_trusted_proxy_names(
        #[case] peer: &str,
        #[case] forwarded: &[&str],
        #[case] client: &str,
    ) {
        let mut request = TestRequest::default().peer_addr((ip(peer), 1).into());
        for line in forwarded {
            request = request.append_header((FORWARDED_FOR, *line));
        }
        let limit = limit(1, &["10.0.0.0/8"]);
        assert_eq!(limit.client(&request.to_http_request()), Some(ip(client)));
    }

    #[test]
    fn what_is_no_text_hides_no_address() {
        let value = HeaderValue::from_bytes(b"\xff, 198.51.100.9").expect("a value");
        let request = TestRequest::default()
            .peer_addr((ip("10.0.0.1"), 1).into())
            .append_header((FORWARDED_FOR, "6.6.6.6"))
            .append_header((FORWARDED_FOR, value));
        let limit = limit(1, &["10.0.0.0/8"]);
        let client = limit.client(&request.to_http_request());
        assert_eq!(client, Some(ip("198.51.100.9")));
    }
}
