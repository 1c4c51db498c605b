//! Who calls: the client's address, and the network that limits and fair shares count by.
//!
//! The address is reckoned once, where a request arrives, and is part of its context. An address
//! is personal data: logs and figures get a [`Network`] or [`Client::in_log`], never more.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The one who sent a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The peer, or whom a trusted proxy names.
    pub address: IpAddr,
    /// Whether the peer itself is a trusted proxy, whose other headers are believed as well.
    pub through_trusted_proxy: bool,
}

/// The addresses that count as one client: an IPv4 address, or the first 64 bits of an IPv6
/// address, as whoever has one address of those has all of them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network(IpAddr);

impl Client {
    /// What limits and fair shares count by.
    #[must_use]
    pub fn network(&self) -> Network {
        Network(match self.address {
            IpAddr::V4(_) => self.address,
            IpAddr::V6(ip) => masked(ip, 64).into(),
        })
    }

    /// The part of the address that a log line may have: the first 24 bits of an IPv4 address, the
    /// first 48 of an IPv6 address.
    #[must_use]
    pub fn in_log(&self) -> impl fmt::Display {
        struct Cut(IpAddr);
        impl fmt::Display for Cut {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    IpAddr::V4(ip) => {
                        let [a, b, c, _] = ip.octets();
                        write!(f, "{}/24", Ipv4Addr::new(a, b, c, 0))
                    }
                    IpAddr::V6(ip) => write!(f, "{}/48", masked(ip, 48)),
                }
            }
        }
        Cut(self.address)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.in_log())
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network(..)")
    }
}

fn masked(ip: Ipv6Addr, bits: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << (128 - bits)))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn client(text: &str) -> Client {
        Client {
            address: text.parse().expect("an address"),
            through_trusted_proxy: false,
        }
    }

    #[rstest]
    #[case("198.51.100.9", "198.51.100.0/24")]
    #[case("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48")]
    fn a_log_line_gets_less_than_the_address(#[case] address: &str, #[case] shown: &str) {
        assert_eq!(client(address).in_log().to_string(), shown);
        assert_eq!(format!("{:?}", client(address)), format!("Client({shown})"));
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let network = |text| client(text).network();
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
