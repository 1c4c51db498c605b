//! The host names that this service serves.
//!
//! A page in a developer's browser may point a name of its own to 127.0.0.1, and send requests to a
//! local service (DNS rebinding). Its requests have that name in `Host`. So a service that listens
//! on loopback serves only loopback names and configured ones; elsewhere it serves any, unless some
//! are configured.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The served names. Clones share them.
#[derive(Clone)]
pub struct Hosts {
    /// Whether any name is served.
    any: bool,
    is_loopback: bool,
    configured: Arc<[String]>,
}

impl Hosts {
    /// The names for a listener at this address, with the configured ones.
    #[must_use]
    pub fn new(address: SocketAddr, configured: &[String]) -> Self {
        let is_loopback = address.ip().to_canonical().is_loopback();
        Self {
            any: configured.is_empty() && !is_loopback,
            is_loopback,
            configured: configured
                .iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
        }
    }

    /// Whether a request with this value of `Host` is served.
    #[must_use]
    pub fn serve(&self, host: &str) -> bool {
        if self.any {
            return true;
        }
        let name = without_port(host);
        let is_configured = || {
            self.configured
                .iter()
                .any(|served| served.eq_ignore_ascii_case(name))
        };
        (self.is_loopback && names_loopback(name)) || is_configured()
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit())
                && (name.ends_with(']') || !name.contains(':')) =>
        {
            name
        }
        _ => host,
    }
}

fn names_loopback(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let bare = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(name);
    let is_localhost = |name: &str| {
        name.eq_ignore_ascii_case("localhost")
            || name
                .rsplit_once('.')
                .is_some_and(|(_, last)| last.eq_ignore_ascii_case("localhost"))
    };
    bare.parse::<IpAddr>()
        .map_or_else(|_| is_localhost(name), |ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn hosts(address: &str, configured: &[&str]) -> Hosts {
        let configured: Vec<String> = configured.iter().map(|&name| name.to_owned()).collect();
        Hosts::new(address.parse().expect("an address"), &configured)
    }

    #[rstest]
    #[case("localhost", true)]
    #[case("LOCALHOST:8000", true)]
    #[case("api.localhost", true)]
    #[case("localhost.", true)]
    #[case("127.0.0.1:8000", true)]
    #[case("127.1.2.3", true)]
    #[case("[::1]:8000", true)]
    #[case("[::ffff:127.0.0.1]", true)]
    #[case("signup.example", true)]
    #[case("Signup.Example:443", true)]
    #[case("evil.example", false)]
    #[case("localhost.evil.example", false)]
    #[case("127.0.0.1.evil.example", false)]
    #[case("evillocalhost", false)]
    #[case("192.0.2.1", false)]
    #[case("", false)]
    fn on_loopback_only_its_names_and_configured_ones_are_served(
        #[case] host: &str,
        #[case] yes: bool,
    ) {
        assert_eq!(
            hosts("127.0.0.1:8000", &["signup.example"]).serve(host),
            yes
        );
    }

    #[test]
    fn elsewhere_any_name_is_served_unless_some_are_configured() {
        assert!(hosts("0.0.0.0:8000", &[]).any);
        let configured = hosts("0.0.0.0:8000", &["signup.example"]);
        assert!(
            !configured.any && configured.serve("signup.example") && !configured.serve("localhost")
        );
    }
}
