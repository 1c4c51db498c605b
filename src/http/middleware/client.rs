//! Determines the client's address behind proxies.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use actix_web::http::header::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use crate::platform::client::Client;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The longest accepted address, in bytes: an IPv6 address with its port, and white space.
const LONGEST: usize = 64;

/// The proxies whose `X-Forwarded-For` is trusted. Clones share them.
#[derive(Clone)]
pub struct TrustedProxies {
    networks: Arc<[IpNet]>,
    hops: usize,
}

impl TrustedProxies {
    /// Trusts the proxies in these networks; a request passes through at most this many.
    #[must_use]
    pub fn new(networks: &[IpNet], hops: usize) -> Self {
        Self {
            networks: networks.into(),
            hops,
        }
    }

    fn has(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|net| net.contains(&ip))
    }

    /// The client: the peer or, if the peer is a trusted proxy, the last address of
    /// `X-Forwarded-For`; and so on, if that is a trusted proxy too, for as many hops as there are
    /// proxies. Anything before can be forged, also by a client whose own address is in a trusted
    /// network.
    #[must_use]
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> Client {
        let mut address = peer.ip().to_canonical();
        let through_trusted_proxy = self.has(address);
        if through_trusted_proxy {
            let lines = headers.get_all(FORWARDED_FOR).rev();
            for named in lines.flat_map(from_the_end).take(self.hops) {
                let Some(named) = named else {
                    break;
                };
                address = named;
                if !self.has(address) {
                    break;
                }
            }
        }
        Client::new(address, through_trusted_proxy)
    }
}

/// The addresses of a line, the last one first; `None` for an invalid one. A line may be as long as
/// a whole head, and no more of it is parsed than needed.
fn from_the_end(line: &HeaderValue) -> impl Iterator<Item = Option<IpAddr>> {
    // As bytes: the part that a client sent need not be text.
    let mut rest = Some(line.as_bytes());
    std::iter::from_fn(move || {
        let line = rest.take()?;
        let (begun, end) = line.split_at(line.len().saturating_sub(LONGEST));
        match end.iter().rposition(|byte| *byte == b',') {
            Some(comma) => {
                rest = Some(&line[..begun.len() + comma]);
                Some(address(&end[comma + 1..]))
            }
            None if begun.is_empty() => Some(address(end)),
            None => Some(None),
        }
    })
}

/// Parses an address of `X-Forwarded-For`, which some proxies write with a port.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let ip: Option<IpAddr> = bare.unwrap_or(text).parse().ok();
    let with_port = || {
        let address: SocketAddr = text.parse().ok()?;
        Some(address.ip())
    };
    Some(ip.or_else(with_port)?.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use rstest::rstest;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn client(hops: usize, peer: &str, request: TestRequest) -> IpAddr {
        let trusted = TrustedProxies::new(&["10.0.0.0/8".parse().expect("a network")], hops);
        let request = request.to_http_request();
        trusted
            .client((ip(peer), 1).into(), request.headers())
            .address
    }

    fn forwarded(lines: &[&str]) -> TestRequest {
        let mut request = TestRequest::default();
        for line in lines {
            request = request.append_header((FORWARDED_FOR, *line));
        }
        request
    }

    #[rstest]
    #[case::no_proxy("192.0.2.1", &["198.51.100.9"], "192.0.2.1")]
    #[case::proxy("10.0.0.1", &["198.51.100.9"], "198.51.100.9")]
    #[case::made_up("10.0.0.1", &["1.1.1.1, 198.51.100.9"], "198.51.100.9")]
    #[case::two_lines("10.0.0.1", &["1.1.1.1", "198.51.100.9"], "198.51.100.9")]
    #[case::trusted_client("10.0.0.1", &["1.1.1.1, 10.0.0.2"], "10.0.0.2")]
    #[case::no_header("10.0.0.1", &[], "10.0.0.1")]
    #[case::nonsense("10.0.0.1", &["unknown"], "10.0.0.1")]
    #[case::nothing("10.0.0.1", &[""], "10.0.0.1")]
    #[case::nothing_behind("10.0.0.1", &["198.51.100.9,"], "10.0.0.1")]
    #[case::nat64("10.0.0.1", &["64:ff9b::198.51.100.9"], "198.51.100.9")]
    #[case::nonsense_before("10.0.0.1", &["unknown, 10.0.0.2"], "10.0.0.2")]
    #[case::port("10.0.0.1", &["198.51.100.9:4711"], "198.51.100.9")]
    #[case::six("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1")]
    #[case::brackets("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1")]
    #[case::four_in_six("::ffff:10.0.0.1", &["::ffff:198.51.100.9"], "198.51.100.9")]
    // NAT64 leads to a proxy, but is not one.
    #[case::no_proxy_by_nat64("64:ff9b::10.0.0.1", &["198.51.100.9"], "10.0.0.1")]
    fn the_client_is_the_one_named_by_a_trusted_proxy(
        #[case] peer: &str,
        #[case] lines: &[&str],
        #[case] named: &str,
    ) {
        assert_eq!(client(1, peer, forwarded(lines)), ip(named));
    }

    #[rstest]
    #[case::one_of_two(2, &["1.1.1.1, 198.51.100.9"], "198.51.100.9")]
    #[case::two(2, &["1.1.1.1, 198.51.100.9, 10.0.0.2"], "198.51.100.9")]
    #[case::two_in_two_lines(2, &["1.1.1.1, 198.51.100.9", "10.0.0.2"], "198.51.100.9")]
    #[case::trusted_client_of_two(2, &["1.1.1.1, 10.0.0.3, 10.0.0.2"], "10.0.0.3")]
    #[case::three(3, &["198.51.100.9, 10.0.0.3, 10.0.0.2"], "198.51.100.9")]
    #[case::fewer_named(3, &["10.0.0.2"], "10.0.0.2")]
    #[case::nonsense_between(3, &["198.51.100.9, unknown, 10.0.0.2"], "10.0.0.2")]
    fn only_the_configured_number_of_proxies_is_trusted(
        #[case] hops: usize,
        #[case] lines: &[&str],
        #[case] named: &str,
    ) {
        assert_eq!(client(hops, "10.0.0.1", forwarded(lines)), ip(named));
    }

    #[test]
    fn invalid_text_hides_no_address() {
        let value = HeaderValue::from_bytes(b"\xff, 198.51.100.9").expect("a value");
        let request = forwarded(&["6.6.6.6"]).append_header((FORWARDED_FOR, value));
        assert_eq!(client(1, "10.0.0.1", request), ip("198.51.100.9"));
    }

    #[test]
    fn no_more_is_parsed_than_needed() {
        let long = format!("{}, 10.0.0.2", "10.0.0.3,".repeat(10_000));
        assert_eq!(client(1, "10.0.0.1", forwarded(&[&long])), ip("10.0.0.2"));
        let line = HeaderValue::from_str(&long).expect("a value");
        assert_eq!(from_the_end(&line).count(), 10_002);
        let padded = format!("198.51.100.9{}", " ".repeat(100));
        assert_eq!(client(1, "10.0.0.1", forwarded(&[&padded])), ip("10.0.0.1"));
    }
}
