//! The settings of the HTTP server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::reader::Sources;
use super::setting::{Setting, fixed, text, worded};
use super::values::{millis, number};

/// The most threads that the HTTP server takes; with more it panics.
const MAX_WORKERS: usize = 512;

/// Its rows.
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
        "The port. `0` takes a free one, and the ready line in the log says which.",
    ),
    worded(
        "HTTP_WORKERS",
        "http.workers",
        "one a core",
        "Threads that serve requests.",
    ),
    fixed(
        "REQUEST_TIMEOUT_MS",
        "http.request_timeout_ms",
        "10000",
        "How long a request may take from its head to its answer.",
    ),
    fixed(
        "HTTP_READ_TIMEOUT_MS",
        "http.read_timeout_ms",
        "5000",
        "How long the head of a request may take to arrive, and again its body.",
    ),
    fixed(
        "HTTP_MAX_CONNECTIONS",
        "http.max_connections",
        "4096",
        "Connections of clients at a time; more wait to be taken. From three quarters on, a new one closes one of the network that has most, which has made no progress for long; a network that has a quarter of all may be refused new ones. Where the process may not open as many files, it is fewer, with a warning.",
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
        "on loopback its own names, elsewhere any",
        "Names that the service is known under, with commas between them, as `signup.example`. \
         Requests for others get 421. On loopback its own names are served as well.",
    )),
    text(worded(
        "CORS_ALLOWED_ORIGINS",
        "http.cors_allowed_origins",
        "none",
        "Whose pages may ask this service from a browser: origins with commas between them, as \
         `https://app.example`.",
    )),
    text(worded(
        "OPERATIONS_HOST",
        "operations.host",
        "that of `HOST`",
        "The address of the listener for `/health`, `/ready` and `/metrics`, where it has one of \
         its own.",
    )),
    worded(
        "OPERATIONS_PORT",
        "operations.port",
        "none: they are on the main listener",
        "The port of a listener of its own for `/health`, `/ready` and `/metrics`. The main one \
         then has them no more. `0` takes a free one.",
    ),
    text(worded(
        "TRUSTED_PROXIES",
        "http.trusted_proxies",
        "none",
        "Whose `X-Forwarded-For` and `traceparent` flags are believed: addresses and networks, such as `10.0.0.0/8,::1`.",
    )),
    fixed(
        "TRUSTED_PROXY_HOPS",
        "http.trusted_proxy_hops",
        "1",
        "How many trusted proxies stand one behind the other, 1 to 16. The client is the last address of \
         `X-Forwarded-For`; of two proxies, the last but one, if the last is a trusted proxy. More than there are \
         would let a client within `TRUSTED_PROXIES` choose its address.",
    ),
    fixed(
        "SHUTDOWN_GRACE_MS",
        "http.shutdown_grace_ms",
        "15000",
        "How long requests in flight may take to finish after a signal to stop.",
    ),
    fixed(
        "SHUTDOWN_DELAY_MS",
        "http.shutdown_delay_ms",
        "0",
        "How long to go on serving, but not ready, after a signal to stop: the time a load \
         balancer needs to notice.",
    ),
];

/// Settings of the HTTP server.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// The address to listen on.
    pub host: IpAddr,
    /// The port; 0 takes a free one.
    pub port: u16,
    /// Threads that serve requests.
    pub workers: usize,
    /// From the arrival of the head to the answer.
    pub request_timeout: Duration,
    /// For the head to arrive, and again for the body.
    pub read_timeout: Duration,
    /// Connections of clients at a time, over all threads.
    pub max_connections: usize,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// Names that the service is known under.
    pub hosts: Vec<String>,
    /// The origins whose pages may ask from a browser.
    pub cors_allowed_origins: Vec<String>,
    /// Where probes and figures are served, if not with the rest.
    pub operations: Option<SocketAddr>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How many of them a request passes through at most.
    pub trusted_proxy_hops: usize,
    /// How long requests in flight may take after a signal to stop.
    pub shutdown_grace: Duration,
    /// How long to go on serving, not ready, before the listener closes.
    pub shutdown_delay: Duration,
}

impl HttpSettings {
    /// Whether only programs of this machine can reach the service.
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
        operations: operations(s, host),
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

/// An address, also in the brackets that it has in a URL, or the name that every machine has for its
/// loopback.
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

/// The listener for probes and figures.
fn operations(s: &mut Sources, host: IpAddr) -> Option<SocketAddr> {
    let own_host = s.take_optional("operations.host", address);
    let port = s.take_optional("operations.port", port);
    if own_host.is_some() && port.is_none() {
        s.mistake("operations.host", "is of no use without OPERATIONS_PORT");
    }
    Some(SocketAddr::new(own_host.unwrap_or(host), port?))
}

/// Origins as browsers send them (RFC 6454, section 6.2), with commas between them.
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

/// Names of hosts, without ports, with commas between them.
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
        .ok_or_else(|| "must be names of hosts without ports, such as signup.example".to_owned())
}

/// Addresses and networks, with commas between them.
pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let network = |text: &str| {
        let text = text.trim();
        let address = || Some(IpNet::from(text.parse::<IpAddr>().ok()?));
        text.parse().ok().or_else(address).map(canonical)
    };
    let networks: Option<Vec<IpNet>> = text.split(',').map(network).collect();
    networks.ok_or_else(|| "must be addresses or networks such as 10.0.0.0/8,::1".to_owned())
}

/// A network of IPv4 as such, also where it is written within IPv6: so are the addresses that it is
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
