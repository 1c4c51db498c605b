//! Checks on the head of a request, beyond those of the HTTP parser: a valid host that this service
//! serves, and a target of bounded length.

use std::net::Ipv6Addr;

use actix_web::dev::ServiceRequest;
use actix_web::http::uri::Authority;
use actix_web::http::{Uri, Version, header};

use super::hosts::Hosts;
use crate::http::problem::{Problem, ProblemType};
use crate::platform::limits::{Bound, Limit};

/// The longest target of a request, in bytes: RFC 9112, section 3, requires 8,000 at least, and
/// this service needs some hundred.
pub const MAX_TARGET: usize = 8192;

/// The longest host, in bytes: a DNS name with a final dot, and a port.
const MAX_HOST: usize = 254 + 6;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    Limit {
        what: "Target of a request (path and query)",
        bound: Bound::Bytes(MAX_TARGET),
        effect: "414 `uri-too-long`",
    },
    Limit {
        what: "`Host`",
        bound: Bound::Bytes(MAX_HOST),
        effect: "400 `malformed-request`",
    },
    Limit {
        what: "Id that a client sends",
        bound: Bound::Count(super::request_context::MAX_ID),
        effect: "the service makes one",
    },
];

/// Refuses a request whose head is invalid, or whose host this service does not serve.
///
/// # Errors
/// The problem to respond with. The connection must then close.
pub fn check(request: &ServiceRequest, served: &Hosts) -> Result<(), Problem> {
    let uri = request.uri();
    if length(uri) > MAX_TARGET {
        return Err(Problem::new(
            ProblemType::URI_TOO_LONG,
            format!("The target of the request is over {MAX_TARGET} bytes."),
        ));
    }
    let mut hosts = request.headers().get_all(header::HOST);
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => host.to_str().ok(),
        // Every browser sends it.
        (None, _) if request.version() < Version::HTTP_11 => None,
        // RFC 9112, section 3.2.
        _ => {
            return Err(Problem::new(
                ProblemType::MALFORMED_REQUEST,
                "Send one header Host, with the name or address of the service, and its port.",
            ));
        }
    };
    let asked = uri.authority().map(Authority::as_str).or(host);
    if asked.is_some_and(|host| !served.serve(host)) {
        return Err(Problem::new(
            ProblemType::MISDIRECTED_REQUEST,
            "This service does not serve the host named in Host.",
        ));
    }
    Ok(())
}

/// The length of a target as sent, without its scheme.
fn length(target: &Uri) -> usize {
    let path = target
        .path_and_query()
        .map_or(0, |path| path.as_str().len());
    path + target.authority().map_or(0, |host| host.as_str().len())
}

/// Whether this is the name or the address of a host, with an optional port (RFC 9110, section
/// 7.2). It must not be empty, as in an `http` URI. Characters that RFC 3986 allows in a name but
/// DNS does not are refused: a list of two names is invalid.
#[must_use]
pub fn is_host(value: &[u8]) -> bool {
    if value.len() > MAX_HOST {
        return false;
    }
    let Ok(value) = std::str::from_utf8(value) else {
        return false;
    };
    let (is_name, port) = if let Some(rest) = value.strip_prefix('[') {
        let Some((ip, port)) = rest.split_once(']') else {
            return false;
        };
        (ip.parse::<Ipv6Addr>().is_ok(), port)
    } else {
        let (name, port) = value.split_at(value.find(':').unwrap_or(value.len()));
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        (!name.is_empty() && name.bytes().all(is_part), port)
    };
    let is_port = match port.strip_prefix(':') {
        Some("") => true,
        Some(port) => port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    is_name && is_port
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("example.org", true)]
    #[case("EXAMPLE.org.", true)]
    #[case("example.org:8000", true)]
    #[case("example.org:", true)]
    #[case("localhost", true)]
    #[case("xn--bcher-kva.example", true)]
    #[case("under_score", true)]
    #[case("127.0.0.1:8000", true)]
    #[case("[::1]", true)]
    #[case("[2001:db8::1]:443", true)]
    #[case("", false)]
    #[case(":8000", false)]
    #[case("a b", false)]
    #[case("a,b", false)]
    #[case("a;b", false)]
    #[case("a%62", false)]
    #[case("a/b", false)]
    #[case("a?b", false)]
    #[case("a#b", false)]
    #[case("http://a", false)]
    #[case("user@a", false)]
    #[case("user:8000@a", false)]
    #[case("a@a", false)]
    #[case("a:b", false)]
    #[case("a:80:80", false)]
    #[case("a:65536", false)]
    #[case("a:+80", false)]
    #[case("::1", false)]
    #[case("[::1", false)]
    #[case("::1]", false)]
    #[case("[]", false)]
    #[case("[::1]x", false)]
    #[case("[zz]", false)]
    #[case("a\\b", false)]
    #[case("<a>", false)]
    #[case("\"a\"", false)]
    #[case("a\u{e9}", false)]
    fn a_host_is_a_name_or_an_address_and_a_port(#[case] text: &str, #[case] is: bool) {
        assert_eq!(is_host(text.as_bytes()), is);
    }
}
