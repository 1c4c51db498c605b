//! Settings of the HTTP server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::reader::Sources;
use super::setting::{Setting, fixed, text, worded};
use super::values::{millis, number};

/// The maximum of server threads; the HTTP server panics with more.
const MAX_WORKERS: usize = 512;

/// The default port of administration; a test compares it with its row.
const ADMIN_PORT: u16 = 8001;

/// The rows of this group.
pub(super) const SETTINGS: &[Setting] = &[
    text(fixed(
        "HOST",
        "http.host",
        "127.0.0.1",
        "The IP address to listen on.",
    )),
    fixed(
        "PORT",
        "http.port",
        "8000",
        "The port. `0` picks a free one, which the ready line in the log reports.",
    ),
    worded(
        "HTTP_WORKERS",
        "http.workers",
        "one per core",
        "Threads that serve requests.",
    ),
    fixed(
        "REQUEST_TIMEOUT_MS",
        "http.request_timeout_ms",
        "10000",
        "How long a request may take from its head to its response.",
    ),
    fixed(
        "HTTP_READ_TIMEOUT_MS",
        "http.read_timeout_ms",
        "5000",
        "How long the head of a request may take to arrive, and separately its body.",
    ),
    fixed(
        "HTTP_MAX_CONNECTIONS",
        "http.max_connections",
        "4096",
        "The maximum of client connections; more wait to be accepted. Above three quarters, a new one closes one of the network with the most connections that has made no progress for long; a network with a quarter of all may be refused new ones. Reduced, with a warning, if the process may not open as many files.",
    ),
    fixed(
        "HTTP_KEEP_ALIVE_MS",
        "http.keep_alive_ms",
        "75000",
        "How long an idle connection is kept.",
    ),
    text(worded(
        "HTTP_HOSTS",
        "http.hosts",
        "on loopback its own names, elsewhere any name",
        "Host names of the service, separated by commas, such as `signup.example`. Requests for other \
         names get 421. On loopback its own names are served as well.",
    )),
    text(worded(
        "CORS_ALLOWED_ORIGINS",
        "http.cors_allowed_origins",
        "none",
        "Origins whose pages may send requests from a browser, separated by commas, such as \
         `https://app.example`.",
    )),
    fixed(
        "PAGES",
        "http.pages",
        "on",
        "Whether the service has pages for people, on which they sign up, log in and look after their account, and the page \
         for administrators, `/admin` on their listener: `on`, or `off` for an own front end (`MAIL_LINK_URL`).",
    ),
    text(worded(
        "OPERATIONS_HOST",
        "operations.host",
        "that of `HOST`",
        "The address of a separate listener for `/health`, `/ready` and `/metrics`, if \
         `OPERATIONS_PORT` is set.",
    )),
    worded(
        "OPERATIONS_PORT",
        "operations.port",
        "none: they are on the main listener",
        "The port of a separate listener for `/health`, `/ready` and `/metrics`. The main listener \
         then does not serve them. `0` picks a free one.",
    ),
    text(fixed(
        "ADMIN_HOST",
        "admin.host",
        "127.0.0.1",
        "The IP address of the listener for administration, whose operations no other listener serves.",
    )),
    fixed(
        "ADMIN_PORT",
        "admin.port",
        "8001",
        "The port of the listener for administration. `0` picks a free one, which the ready line in the log reports. If \
         it is not set and another program has it, the service starts without administration, with a warning.",
    ),
    text(worded(
        "TRUSTED_PROXIES",
        "http.trusted_proxies",
        "none",
        "Proxies whose `X-Forwarded-For` and `traceparent` flags are trusted: addresses and networks, such as `10.0.0.0/8,::1`.",
    )),
    fixed(
        "TRUSTED_PROXY_HOPS",
        "http.trusted_proxy_hops",
        "1",
        "The number of trusted proxies in a chain, 1 to 16. The client is the last address of \
         `X-Forwarded-For`; with two proxies, the last but one, if the last is a trusted proxy. A number that is too \
         high would let a client within `TRUSTED_PROXIES` choose its address.",
    ),
    fixed(
        "SHUTDOWN_GRACE_MS",
        "http.shutdown_grace_ms",
        "15000",
        "How long requests in flight may take to finish after a stop signal.",
    ),
    fixed(
        "SHUTDOWN_DELAY_MS",
        "http.shutdown_delay_ms",
        "0",
        "How long to continue to serve, but not ready, after a stop signal: the time a load \
         balancer needs to notice.",
    ),
];

/// Settings of the HTTP server.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port; 0 picks a free one.
    pub port: u16,
    /// Threads that serve requests.
    pub workers: usize,
    /// The time from the head of a request to its response.
    pub request_timeout: Duration,
    /// The time for the head to arrive, and separately for the body.
    pub read_timeout: Duration,
    /// The maximum of client connections, over all threads.
    pub max_connections: usize,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// The host names of the service.
    pub hosts: Vec<String>,
    /// The origins whose pages may send requests from a browser.
    pub cors_allowed_origins: Vec<String>,
    /// Whether there are pages for people.
    pub pages: bool,
    /// The listener for probes and metrics, if it is separate.
    pub operations: Option<SocketAddr>,
    /// The listener for administration.
    pub administration: AdministrationSettings,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// How many of them a request passes through at most.
    pub trusted_proxy_hops: usize,
    /// How long requests in flight may take after a stop signal.
    pub shutdown_grace: Duration,
    /// How long to continue to serve, not ready, before the listener closes.
    pub shutdown_delay: Duration,
}

/// The listener for administration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdministrationSettings {
    /// Its address; port 0 picks a free one.
    pub address: SocketAddr,
    /// Whether its port was set: then the service does not start without it.
    pub is_port_set: bool,
}

impl HttpSettings {
    /// Whether only programs on this machine can reach the service.
    #[must_use]
    pub const fn is_on_loopback(&self) -> bool {
        self.host.to_canonical().is_loopback()
    }
}

pub(super) fn read(s: &mut Sources) -> HttpSettings {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let host = s.take("http.host", address);
    HttpSettings {
        host,
        hosts: s.take_or("http.hosts", Vec::new(), hosts),
        cors_allowed_origins: s.take_or("http.cors_allowed_origins", Vec::new(), origins),
        pages: s.take("http.pages", |text| match text {
            "on" => Ok(true),
            "off" => Ok(false),
            _ => Err("must be on or off".to_owned()),
        }),
        operations: operations(s, host),
        administration: administration(s),
        port: s.take("http.port", port),
        workers: s.take_or("http.workers", cores.min(MAX_WORKERS), |text| {
            number(text, (1, MAX_WORKERS))
        }),
        request_timeout: s.take("http.request_timeout_ms", |text| millis(text, 100)),
        read_timeout: s.take("http.read_timeout_ms", |text| millis(text, 100)),
        max_connections: s.take("http.max_connections", |text| number(text, (1, 1_000_000))),
        keep_alive: s.take("http.keep_alive_ms", |text| millis(text, 100)),
        trusted_proxies: s.take_or("http.trusted_proxies", Vec::new(), networks),
        trusted_proxy_hops: s.take("http.trusted_proxy_hops", |text| number(text, (1, 16))),
        shutdown_grace: s.take("http.shutdown_grace_ms", |text| millis(text, 0)),
        shutdown_delay: s.take("http.shutdown_delay_ms", |text| millis(text, 0)),
    }
}

/// An address, optionally in the brackets that it has in a URL, or `localhost`.
fn address(text: &str) -> Result<IpAddr, String> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    bare.unwrap_or(text)
        .parse()
        .map_err(|_| "must be an IP address such as 127.0.0.1, or localhost".to_owned())
}

fn port(text: &str) -> Result<u16, String> {
    text.parse()
        .map_err(|_| "must be a port from 0 to 65535".to_owned())
}

/// The listener for probes and metrics.
fn operations(s: &mut Sources, host: IpAddr) -> Option<SocketAddr> {
    let own_host = s.take_optional("operations.host", address);
    let port = s.take_optional("operations.port", port);
    if own_host.is_some() && port.is_none() {
        s.mistake("operations.host", "has no effect without OPERATIONS_PORT");
    }
    Some(SocketAddr::new(own_host.unwrap_or(host), port?))
}

fn administration(s: &mut Sources) -> AdministrationSettings {
    let host = s.take("admin.host", address);
    let set = s.take_optional("admin.port", port);
    AdministrationSettings {
        address: SocketAddr::new(host, set.unwrap_or(ADMIN_PORT)),
        is_port_set: set.is_some(),
    }
}

/// Origins as browsers send them (RFC 6454, section 6.2), separated by commas.
fn origins(text: &str) -> Result<Vec<String>, String> {
    let is_origin = |origin: &str| {
        let host = origin
            .strip_prefix("https://")
            .or_else(|| origin.strip_prefix("http://"));
        host.is_some_and(|host| {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._[:]".contains(&byte))
        })
    };
    text.split(',')
        .map(str::trim)
        .map(|origin| is_origin(origin).then(|| origin.to_ascii_lowercase()))
        .collect::<Option<_>>()
        .ok_or_else(|| "must be origins without a path, such as https://app.example".to_owned())
}

/// Host names without ports, separated by commas.
fn hosts(text: &str) -> Result<Vec<String>, String> {
    let names = text.split(',').map(str::trim);
    let is_name = |name: &str| {
        !name.is_empty()
            && name.len() <= 253
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._[:]".contains(&byte))
            && (!name.contains(':') || name.starts_with('['))
    };
    names
        .map(|name| is_name(name).then(|| name.to_owned()))
        .collect::<Option<_>>()
        .ok_or_else(|| "must be host names without ports, such as signup.example".to_owned())
}

/// Addresses and networks, separated by commas.
pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let network = |text: &str| {
        let text = text.trim();
        let address = || Some(IpNet::from(text.parse::<IpAddr>().ok()?));
        text.parse().ok().or_else(address).map(canonical)
    };
    let networks: Option<Vec<IpNet>> = text.split(',').map(network).collect();
    networks.ok_or_else(|| "must be addresses or networks such as 10.0.0.0/8,::1".to_owned())
}

/// Converts an IPv4 network that is written within IPv6 to IPv4: so are the addresses that it is
/// compared with.
fn canonical(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(network) => network
            .addr()
            .to_ipv4_mapped()
            .zip(network.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    mapped
        .and_then(|(address, length)| IpNet::new(address.into(), length).ok())
        .unwrap_or(network)
}
