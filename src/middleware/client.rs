//! Reckons who sent a request, where proxies stand between.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use actix_web::http::header::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use crate::platform::client::Client;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The proxies whose `X-Forwarded-For` is believed. A copy shares them.
#[derive(Clone)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    /// The proxies in these networks.
    #[must_use]
    pub fn new(networks: &[IpNet]) -> Self {
        Self(networks.into())
    }

    fn has(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&ip))
    }

    /// The client: the peer or, where the peer is a trusted proxy, the last address of
    /// `X-Forwarded-For` that is no trusted proxy. What stands before it can be made up.
    #[must_use]
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> Client {
        let peer = peer.ip().to_canonical();
        let through_trusted_proxy = self.has(peer);
        let mut address = peer;
        if through_trusted_proxy {
            let lines: Vec<_> = headers.get_all(FORWARDED_FOR).collect();
            for part in lines.into_iter().flat_map(addresses).rev() {
                let Some(ip) = part else {
                    break;
                };
                address = ip;
                if !self.has(address) {
                    break;
                }
            }
        }
        Client {
            address,
            through_trusted_proxy,
        }
    }
}

/// The addresses of a line; `None` for each part that is none.
fn addresses(line: &HeaderValue) -> Vec<Option<IpAddr>> {
    // As bytes: a client's own part of a line need not be text.
    line.as_bytes()
        .split(|byte| *byte == b',')
        .map(address)
        .collect()
}

/// Reads an address of `X-Forwarded-For`, which some proxies write with a port.
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

    fn client(peer: &str, request: TestRequest) -> IpAddr {
        let trusted = TrustedProxies::new(&["10.0.0.0/8".parse().expect("a network")]);
        let request = request.to_http_request();
        trusted
            .client((ip(peer), 1).into(), request.headers())
            .address
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
        #[case] named: &str,
    ) {
        let mut request = TestRequest::default();
        for line in forwarded {
            request = request.append_header((FORWARDED_FOR, *line));
        }
        assert_eq!(client(peer, request), ip(named));
    }

    #[test]
    fn what_is_no_text_hides_no_address() {
        let value = HeaderValue::from_bytes(b"\xff, 198.51.100.9").expect("a value");
        let request = TestRequest::default()
            .append_header((FORWARDED_FOR, "6.6.6.6"))
            .append_header((FORWARDED_FOR, value));
        assert_eq!(client("10.0.0.1", request), ip("198.51.100.9"));
    }
}
