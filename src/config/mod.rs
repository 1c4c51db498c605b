//! The settings: defaults, then a TOML file, then the environment, then options of the command line.
//!
//! To add one: a row in [`table`], a field in [`Settings`], and the line in
//! [`Settings::from_sources`] that joins them. If it can contradict another, say so in
//! [`contradictions`]. A test keeps `docs/settings.md` in step, and another tries bad values and pairs of
//! every row.

mod reader;
mod table;
mod traces;
mod urls;
#[cfg(test)]
mod walk;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};

pub use reader::{CommandLineOption, Mistakes, Sources, Warning, may_be_shown};
pub use table::{Setting, reference};
pub use traces::{TraceProtocol, TraceSampler, Traces};
pub use urls::{Backend, DatabaseUrl, RedisUrl, is_in_clear};

/// The shortest secret, in bytes.
pub const MIN_SECRET_BYTES: usize = 32;

/// The most threads that the HTTP server takes; with more it panics.
const MAX_WORKERS: usize = 512;

/// The most threads that hash.
const MAX_HASHING_THREADS: usize = 1024;

/// All settings, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The HTTP server.
    pub http: Http,
    /// The database.
    pub database: Database,
    /// What speeds up, where there is one.
    pub redis: Option<RedisUrl>,
    /// Password hashing.
    pub hashing: Hashing,
    /// Idempotency keys.
    pub idempotency: Idempotency,
    /// Signups that one client may send; `None` for any number.
    pub signup_rate: Option<Rate>,
    /// Logs.
    pub log: Log,
    /// Traces.
    pub traces: Traces,
    /// What works and deserves a second look: for the log, once there is one.
    pub warnings: Vec<Warning>,
}

/// Settings of idempotency keys.
#[derive(Debug, Clone)]
pub struct Idempotency {
    /// Makes the stored names of keys and requests.
    pub secret: Option<SecretString>,
    /// The one before it.
    pub secret_previous: Option<SecretString>,
    /// Whether every signup must have a key.
    pub required: bool,
    /// How long an answer is kept.
    pub ttl: Duration,
}

/// So many requests in so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least 1.
    pub requests: u32,
    /// In which time; at least a second.
    pub window: Duration,
}

/// Signups of one client where strangers can reach the service, and nothing else is said.
const DEFAULT_RATE: Rate = Rate {
    requests: 20,
    window: Duration::from_mins(1),
};

/// Settings of the HTTP server.
#[derive(Debug, Clone)]
pub struct Http {
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

impl Http {
    /// Whether only programs of this machine can reach the service.
    #[must_use]
    pub const fn is_on_loopback(&self) -> bool {
        self.host.to_canonical().is_loopback()
    }
}

/// Settings of the database.
#[derive(Debug, Clone)]
pub struct Database {
    /// Where it is.
    pub url: DatabaseUrl,
    /// A replica for the query side.
    pub read_url: Option<DatabaseUrl>,
    /// The most connections of each of the two pools, for commands and for queries.
    pub max_connections: u32,
    /// Whether `serve` migrates first.
    pub migrate: bool,
    /// Whether a PostgreSQL that acknowledges commits before they are on disk is accepted.
    pub allow_async_commit: bool,
}

/// Settings of password hashing.
#[derive(Debug, Clone, Copy)]
pub struct Hashing {
    /// The cost of bcrypt: the work is 2 to this power.
    pub cost: u32,
    /// Threads that hash.
    pub threads: usize,
    /// Hashes that a thread moves forward together, 1 to 8.
    pub lanes: usize,
    /// Passwords that may wait for a lane.
    pub queue: usize,
    /// How much the threads stand back behind those that serve requests: 0 to 19, as for `nice`.
    pub nice: i32,
}

/// Settings of the logs.
#[derive(Debug, Clone)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// What is logged, as `tracing-subscriber` filters it.
    pub filter: String,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// Reads the settings from the file, if one is named, the environment, and the command line.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn load(
        file: Option<&Path>,
        options: &[CommandLineOption],
        stdout_is_terminal: bool,
    ) -> Result<Self, Mistakes> {
        Self::from_sources(Sources::from_system(file, options)?, stdout_is_terminal)
    }

    /// Checks what the sources say.
    ///
    /// # Errors
    /// Every mistake at once.
    pub fn from_sources(mut sources: Sources, stdout_is_terminal: bool) -> Result<Self, Mistakes> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let s = &mut sources;
        let host = s.take("http.host", address);
        let http = Http {
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
        };
        let url = s.take("database.url", DatabaseUrl::parse);
        let on_sqlite = url.backend == Backend::Sqlite;
        let read_url = s.take_optional("database.read_url", DatabaseUrl::parse);
        if let Some(read_url) = &read_url
            && (on_sqlite || read_url.backend != url.backend)
        {
            s.mistake(
                "database.read_url",
                "names a replica, which only a PostgreSQL database has",
            );
        }
        let database = Database {
            url,
            read_url,
            max_connections: s.take("database.max_connections", |text| number(text, (1, 1000))),
            migrate: s.take_or("database.migrate", on_sqlite, boolean),
            allow_async_commit: s.take("database.allow_async_commit", boolean),
        };
        let redis = s.take_optional("redis.url", RedisUrl::parse);
        let hashing = Hashing {
            cost: s.take("hashing.cost", |text| number(text, (4, 31))),
            threads: s.take_or("hashing.threads", cores.min(MAX_HASHING_THREADS), |text| {
                number(text, (1, MAX_HASHING_THREADS))
            }),
            lanes: s.take("hashing.lanes", |text| number(text, (1, 8))),
            queue: s.take("hashing.queue", |text| number(text, (1, 100_000))),
            nice: s.take("hashing.nice", |text| number(text, (0, 19))),
        };
        let idempotency = Idempotency {
            secret: s.take_optional("idempotency.secret", long_secret),
            secret_previous: s.take_optional("idempotency.secret_previous", long_secret),
            required: s.take("idempotency.required", boolean),
            ttl: s.take("idempotency.ttl_seconds", |text| {
                number(text, (1, 31_536_000)).map(Duration::from_secs)
            }),
        };
        let default_rate = (!http.is_on_loopback()).then_some(DEFAULT_RATE);
        let signup_rate = s.take_or("rate_limit.signup", default_rate, rate);
        let default_format = if stdout_is_terminal {
            LogFormat::Pretty
        } else {
            LogFormat::Json
        };
        let log = Log {
            format: s.take_or("log.format", default_format, |text| match text {
                "pretty" => Ok(LogFormat::Pretty),
                "json" => Ok(LogFormat::Json),
                _ => Err("must be pretty or json".to_owned()),
            }),
            filter: s.take("log.filter", filter),
        };
        let traces = traces::read(s);
        contradictions(s, &http, &idempotency);
        let warnings = sources.finish()?;
        Ok(Self {
            http,
            database,
            redis,
            hashing,
            idempotency,
            signup_rate,
            log,
            traces,
            warnings,
        })
    }
}

/// Settings that are valid one by one and break together.
fn contradictions(s: &mut Sources, http: &Http, idempotency: &Idempotency) {
    let secrets = (&idempotency.secret, &idempotency.secret_previous);
    if let (Some(secret), Some(previous)) = secrets
        && secret.expose_secret() == previous.expose_secret()
    {
        s.mistake(
            "idempotency.secret_previous",
            "is the same as IDEMPOTENCY_SECRET; leave it out, or set the secret before the change",
        );
    }
    let same_place = http.operations.is_some_and(|own| {
        let everywhere = own.ip().is_unspecified() || http.host.is_unspecified();
        own.port() != 0 && own.port() == http.port && (everywhere || own.ip() == http.host)
    });
    if same_place {
        s.mistake(
            "operations.port",
            "is the same as PORT; take another, or leave it out",
        );
    }
    if idempotency.ttl < http.request_timeout {
        s.warn(
            "idempotency.ttl_seconds",
            "a response is kept for less time than a request may take (REQUEST_TIMEOUT_MS), so a retry \
             may be executed anew",
        );
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

/// A URL is a filter to the library, which lets nothing through.
fn filter(text: &str) -> Result<String, String> {
    let parsed = tracing_subscriber::EnvFilter::try_new(text);
    parsed
        .ok()
        .filter(|_| !text.contains("//") && !text.contains('@'))
        .map(|_| text.to_owned())
        .ok_or_else(|| "must be a filter such as info or info,sqlx=debug".to_owned())
}

/// What stands in a URL, and is lost on its way to a driver.
fn one_line(url: &str) -> Result<(), String> {
    if url.contains(char::is_control) {
        return Err("must be one line, without control characters".to_owned());
    }
    Ok(())
}

fn number<T>(text: &str, (least, most): (T, T)) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + fmt::Display,
{
    text.parse()
        .ok()
        .filter(|number| (&least..=&most).contains(&number))
        .ok_or_else(|| format!("must be a whole number from {least} to {most}"))
}

/// Up to an hour: a longer limit is a mistake in the unit.
fn millis(text: &str, least: u64) -> Result<Duration, String> {
    number(text, (least, 3_600_000))
        .map(Duration::from_millis)
        .map_err(|error| format!("{error} (milliseconds)"))
}

fn long_secret(text: &str) -> Result<SecretString, String> {
    if text.len() < MIN_SECRET_BYTES {
        return Err(format!("must have at least {MIN_SECRET_BYTES} bytes"));
    }
    Ok(SecretString::from(text))
}

/// `20/1m`: a number, and a time in seconds, minutes or hours; or `off`.
fn rate(text: &str) -> Result<Option<Rate>, String> {
    if text == "off" {
        return Ok(None);
    }
    let wrong = || "must be off, or a rate such as 20/1m (s, m or h)".to_owned();
    let (requests, window) = text.split_once('/').ok_or_else(wrong)?;
    let unit = window.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(wrong()),
    };
    let requests = number(requests, (1, 1_000_000)).map_err(|_| wrong())?;
    let count = window.strip_suffix(unit).unwrap_or_default();
    let count: u64 = number(count, (1, 86_400)).map_err(|_| wrong())?;
    let window = Duration::from_secs(count * seconds);
    Ok(Some(Rate { requests, window }))
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
fn networks(text: &str) -> Result<Vec<IpNet>, String> {
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

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(env: &[(&str, &str)], file: &str) -> Result<Settings, Mistakes> {
        Settings::from_sources(Sources::given(env, file)?, false)
    }

    #[test]
    fn every_setting_has_a_default_that_works() {
        let settings = settings(&[], "").expect("the defaults are valid");
        assert_eq!(settings.http.host.to_string(), "127.0.0.1");
        assert_eq!(settings.http.port, 8000);
        assert_eq!(settings.database.url.expose(), "sqlite://data/signup.db");
        assert!(settings.database.migrate);
        assert_eq!(settings.hashing.cost, 12);
        assert_eq!(settings.log.format, LogFormat::Json);
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let file = "[http]\nport = 1\nrequest_timeout_ms = 2000\n[log]\nformat = \"pretty\"\n";
        let settings = settings(&[("PORT", "2")], file).expect("valid");
        assert_eq!(settings.http.port, 2);
        assert_eq!(settings.http.request_timeout, Duration::from_secs(2));
        assert_eq!(settings.log.format, LogFormat::Pretty);
    }

    #[test]
    fn migration_at_start_is_for_sqlite() {
        let postgres = settings(&[("DATABASE_URL", "postgres://h/d")], "").expect("valid");
        assert!(!postgres.database.migrate);
        let told = [
            ("DATABASE_URL", "postgres://h/d"),
            ("DATABASE_MIGRATE", "true"),
        ];
        assert!(settings(&told, "").expect("valid").database.migrate);
    }

    #[test]
    fn every_mistake_is_told_at_once_and_no_secret_with_it() {
        let file = "[http]\nprot = 1\nworkers = 0\n[hashing]\ncost = \"high\"\n[nonsense]\n";
        let env = [
            ("PORT", "70000"),
            ("HOST", "my-machine"),
            ("DATABASE_URL", "mysql://u:hunter2@h/d"),
            ("REDIS_URL", "http://u:hunter2@h/0"),
            ("LOG_FORMAT", "xml"),
            ("RATE_LIMIT_SIGNUP", "20 a minute"),
            ("TRUSTED_PROXIES", "10.0.0.0/8,proxy"),
            ("TRUSTED_PROXY_HOPS", "0"),
        ];
        let text = settings(&env, file).expect_err("mistakes").to_string();
        for expected in [
            "PORT is \"70000\"",
            "HOST is \"my-machine\"",
            "DATABASE_URL must begin with",
            "REDIS_URL must begin with",
            "LOG_FORMAT is \"xml\"",
            "RATE_LIMIT_SIGNUP is \"20 a minute\"",
            "TRUSTED_PROXIES is \"10.0.0.0/8,proxy\"",
            "TRUSTED_PROXY_HOPS is \"0\"",
            "http.workers is \"0\"",
            "hashing.cost is \"high\"",
            "http.prot is no setting (line 2); did you mean http.port?",
            "line 6 of the settings file is no setting",
        ] {
            assert!(text.contains(expected), "{expected:?} in:\n{text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn a_secret_may_come_from_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("url");
        let path = file.to_str().expect("UTF-8");
        let from_file = [("REDIS_URL_FILE", path)];
        let text = |env: &[(&str, &str)]| settings(env, "").expect_err("a mistake").to_string();
        assert!(text(&from_file).contains("REDIS_URL_FILE names"));
        std::fs::write(&file, "\n").expect("written");
        assert!(text(&from_file).contains("which is empty"));
        std::fs::write(&file, "redis://:hunter2@h/0\n").expect("written");
        let redis = settings(&from_file, "[redis]\nurl = \"redis://other\"\n");
        let redis = redis.expect("valid").redis.expect("set");
        assert_eq!(redis.expose(), "redis://:hunter2@h/0");
        let both = [("REDIS_URL", "redis://h"), ("REDIS_URL_FILE", path)];
        assert!(text(&both).contains("are both set"));
        std::fs::write(&file, "hunter2").expect("written");
        let text = text(&from_file);
        assert!(text.contains("REDIS_URL_FILE must begin") && !text.contains("hunter2"));
    }

    #[test]
    fn rates_and_networks_in_their_forms() {
        let of = |text| {
            rate(text)
                .ok()
                .flatten()
                .map(|rate| (rate.requests, rate.window.as_secs()))
        };
        assert_eq!(of("20/1m"), Some((20, 60)));
        assert_eq!(of("1/30s"), Some((1, 30)));
        assert_eq!(of("5/2h"), Some((5, 7200)));
        assert_eq!(rate("off"), Ok(None));
        for wrong in [
            "", "20", "20/", "20/m", "0/1m", "20/0s", "20/1d", "-1/1m", "20/1mm",
        ] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
        assert_eq!(networks("10.0.0.0/8, ::1").map(|all| all.len()), Ok(2));
        assert!(networks("10.0.0.0/33").is_err());
        assert_eq!(
            networks("::ffff:10.0.0.0/104,::ffff:10.1.2.3"),
            networks("10.0.0.0/8,10.1.2.3")
        );
    }

    #[test]
    fn signups_are_limited_where_strangers_can_send_them() {
        let of = |env: &[(&str, &str)]| settings(env, "").expect("valid").signup_rate;
        for host in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(of(&[("HOST", host)]), None, "{host}");
        }
        for host in ["0.0.0.0", "::", "192.0.2.1", "2001:db8::1"] {
            assert_eq!(of(&[("HOST", host)]), Some(DEFAULT_RATE), "{host}");
            let off = [("HOST", host), ("RATE_LIMIT_SIGNUP", "off")];
            assert_eq!(of(&off), None, "{host}");
        }
        let five = of(&[("RATE_LIMIT_SIGNUP", "5/1m")]).map(|rate| rate.requests);
        assert_eq!(five, Some(5));
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        assert_eq!(
            settings(&[("PORT", "")], "").expect("valid").http.port,
            8000
        );
    }

    #[test]
    fn debug_hides_passwords() {
        let env = [
            ("DATABASE_URL", "postgres://u:hunter2@h/d"),
            ("REDIS_URL", "redis://:hunter2@h/0"),
        ];
        let text = format!("{:?}", settings(&env, "").expect("valid"));
        assert!(!text.contains("hunter2"), "{text}");
    }
}
