//! Client addresses, and the networks that limits and fair shares count by.
//!
//! The address is determined once, where a request arrives, and is part of its context. An address
//! is personal data: logs and metrics get a [`Network`] or [`Client::in_log`], never more.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The prefix lengths of IPv6 networks that one client may hold, narrowest first, and how many
/// clients each counts as. A client with a /48, as is usual for a site, has 65,536 networks of 64
/// bits, but does not count as that many clients.
const IPV6_NETWORKS: [(u8, u32); 3] = [(64, 1), (56, 4), (48, 16)];

/// The prefix of an address behind NAT64 (RFC 6052, section 2.1); the IPv4 address follows it.
const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// The sender of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Client {
    /// The peer, or the address that a trusted proxy reports.
    pub address: IpAddr,
    /// Whether the peer is a trusted proxy, whose other headers are trusted as well.
    pub through_trusted_proxy: bool,
}

/// Addresses that count as one client.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network(IpNet);

impl Client {
    /// The client at an address. A NAT64 address is treated as the IPv4 client behind it, as all of
    /// them share the first 96 bits.
    #[must_use]
    pub fn new(address: IpAddr, through_trusted_proxy: bool) -> Self {
        let address = match address.to_canonical() {
            IpAddr::V6(ip) if NAT64.contains(&ip) => {
                let [.., a, b, c, d] = ip.octets();
                Ipv4Addr::new(a, b, c, d).into()
            }
            address => address,
        };
        Self {
            address,
            through_trusted_proxy,
        }
    }

    /// The network that fair shares count by: an IPv4 address, or the first 64 bits of an IPv6
    /// address, as a client with one of those addresses has all of them.
    ///
    /// # Panics
    /// Never: an address has 32 or 128 bits.
    #[must_use]
    pub fn network(&self) -> Network {
        self.networks()
            .next()
            .map(|(network, _)| network)
            .expect("each address has a network")
    }

    /// The networks that limits count by, narrowest first, each with the number of clients it
    /// counts as.
    pub fn networks(&self) -> impl Iterator<Item = (Network, u32)> {
        let address = self.address;
        let wanted: &[(u8, u32)] = match address {
            IpAddr::V4(_) => &[(32, 1)],
            IpAddr::V6(_) => &IPV6_NETWORKS,
        };
        wanted.iter().map(move |(bits, clients)| {
            let network = match address {
                IpAddr::V4(ip) => Ipv4Net::new_assert(ip, *bits).into(),
                IpAddr::V6(ip) => Ipv6Net::new_assert(ip, *bits).trunc().into(),
            };
            (Network(network), *clients)
        })
    }

    /// The part of the address that a log line may contain: the first 24 bits of an IPv4 address,
    /// or the first 48 of an IPv6 address.
    #[must_use]
    pub fn in_log(&self) -> impl fmt::Display {
        struct Cut(IpAddr);
        impl fmt::Display for Cut {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    IpAddr::V4(ip) => {
                        // Without the formatters of addresses: this is part of every log line.
                        let [a, b, c, _] = ip.octets();
                        let mut number = itoa::Buffer::new();
                        for octet in [a, b, c] {
                            f.write_str(number.format(octet))?;
                            f.write_str(".")?;
                        }
                        f.write_str("0/24")
                    }
                    IpAddr::V6(ip) => write!(f, "{}", Ipv6Net::new_assert(ip, 48).trunc()),
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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn client(text: &str) -> Client {
        Client::new(text.parse().expect("an address"), false)
    }

    #[rstest]
    #[case("198.51.100.9", "198.51.100.0/24")]
    #[case("2001:db8:1:2:3:4:5:6", "2001:db8:1::/48")]
    #[case("::ffff:198.51.100.9", "198.51.100.0/24")]
    #[case("64:ff9b::198.51.100.9", "198.51.100.0/24")]
    // Not with another NAT64 prefix: the position of the IPv4 address is then unknown.
    #[case("64:ff9b:1::198.51.100.9", "64:ff9b:1::/48")]
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

    #[test]
    fn a_client_behind_nat64_is_its_ipv4_client() {
        assert_eq!(client("64:ff9b::192.0.2.1"), client("192.0.2.1"));
        assert_ne!(
            client("64:ff9b::192.0.2.1").network(),
            client("64:ff9b::192.0.2.2").network()
        );
    }

    #[test]
    fn wider_networks_count_as_more_clients() {
        let networks = |text: &str| -> Vec<_> { client(text).networks().collect() };
        assert_eq!(networks("192.0.2.1").len(), 1);
        let one = networks("2001:db8:0:100::1");
        let clients: Vec<u32> = one.iter().map(|(_, clients)| *clients).collect();
        assert_eq!(clients, [1, 4, 16]);
        assert_eq!(one[0].0, client("2001:db8:0:100::1").network());
        // Each is a different network, even if all its bits beyond the widest are 0.
        let same = |other: &str| {
            let other = networks(other);
            one.iter().zip(&other).filter(|(a, b)| a.0 == b.0).count()
        };
        assert_eq!(same("2001:db8:0:100:ffff::2"), 3);
        assert_eq!(same("2001:db8:0:1ff::1"), 2);
        assert_eq!(same("2001:db8:0:200::1"), 1);
        assert_eq!(same("2001:db8:1:100::1"), 0);
        let all: std::collections::HashSet<_> = networks("2001:db8::").into_iter().collect();
        assert_eq!(all.len(), 3);
    }
}
