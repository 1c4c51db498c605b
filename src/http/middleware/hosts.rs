//! The names that this service is asked under.
//!
//! A page that a developer has open may have a name of its own point to 127.0.0.1, and ask a
//! service there that was never meant for it (DNS rebinding). Its requests have that name in
//! `Host`. So a service that listens on loopback is asked under a name of loopback, or one that it
//! was told of; elsewhere under any, unless it was told of some.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The names that are served. A copy shares them.
#[derive(Clone)]
pub struct Hosts {
    /// Whether any name will do.
    any: bool,
    is_loopback: bool,
    told: Arc<[String]>,
}

impl Hosts {
    /// The names for a listener at this address, with those that the settings have.
    #[must_use]
    pub fn new(address: SocketAddr, told: &[String]) -> Self {
        let is_loopback = address.ip().to_canonical().is_loopback();
        Self {
            any: told.is_empty() && !is_loopback,
            is_loopback,
            told: told.iter().map(|name| name.to_ascii_lowercase()).collect(),
        }
    }

    /// Whether a request is served under this value of `Host`.
    #[must_use]
    pub fn serve(&self, host: &str) -> bool {
        if self.any {
            return true;
        }
        let name = without_port(host);
        let is_told = || self.told.iter().any(|told| told.eq_ignore_ascii_case(name));
        (self.is_loopback && names_loopback(name)) || is_told()
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

    fn hosts(address: &str, told: &[&str]) -> Hosts {
        let told: Vec<String> = told.iter().map(|&name| name.to_owned()).collect();
        Hosts::new(address.parse().expect("an address"), &told)
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
    fn on_loopback_only_its_names_and_those_told_are_served(#[case] host: &str, #[case] yes: bool) {
        assert_eq!(
            hosts("127.0.0.1:8000", &["signup.example"]).serve(host),
            yes
        );
    }

    #[test]
    fn elsewhere_any_name_will_do_unless_some_are_told() {
        assert!(hosts("0.0.0.0:8000", &[]).any);
        let told = hosts("0.0.0.0:8000", &["signup.example"]);
        assert!(!told.any && told.serve("signup.example") && !told.serve("localhost"));
    }
}
