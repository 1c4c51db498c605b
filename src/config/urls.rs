//! The URLs of the databases and of Redis, validated before any driver sees them.
//!
//! A driver accepts more parameters than the service supports, and may print unknown ones with
//! their values. So each kind of URL has a list of allowed parameters. No text here repeats a URL,
//! as it may contain a password, nor any value; only a plain name is repeated.

use std::fmt;
use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use url::{Host, Url};

/// Parameters allowed in a PostgreSQL URL, by the driver's names.
const POSTGRES_PARAMETERS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

/// The longest public URL, in bytes. It is part of every access token.
const MAX_PUBLIC_URL: usize = 255;

const SSL_MODES: &[&str] = &[
    "allow",
    "disable",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

/// The supported databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// The production database.
    Postgres,
    /// The embedded database.
    Sqlite,
}

/// The URL of a database. `Debug` and `Display` do not show its password.
#[derive(Clone)]
pub struct DatabaseUrl {
    url: SecretString,
    /// The backend of the URL.
    pub backend: Backend,
    names_application: bool,
}

impl DatabaseUrl {
    /// Parses a URL of either backend.
    ///
    /// # Errors
    /// What is wrong, without the URL: it may contain a password.
    pub fn parse(url: &str) -> Result<Self, String> {
        super::values::one_line(url)?;
        let mut names_application = false;
        let backend = if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            names_application = check_postgres(url)?;
            Backend::Postgres
        } else if let Some(rest) = url.strip_prefix("sqlite://") {
            check_sqlite(rest)?;
            Backend::Sqlite
        } else {
            return Err("must begin with postgres:// or sqlite://".to_owned());
        };
        Ok(Self {
            url: SecretString::from(url),
            backend,
            names_application,
        })
    }

    /// The URL, for the driver.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.url.expose_secret()
    }

    /// Whether it sets the `application_name`.
    #[must_use]
    pub const fn names_application(&self) -> bool {
        self.names_application
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({:?}, ..)", self.backend)
    }
}

/// The URL of a Redis. `Debug` does not show its password.
#[derive(Clone)]
pub struct RedisUrl(SecretString);

impl RedisUrl {
    /// Parses a URL with or without TLS.
    ///
    /// # Errors
    /// What is wrong, without the URL: it may contain a password.
    pub fn parse(url: &str) -> Result<Self, String> {
        super::values::one_line(url)?;
        if !url.starts_with("redis://") && !url.starts_with("rediss://") {
            return Err("must begin with redis:// or rediss://".to_owned());
        }
        let parsed = Url::parse(url).map_err(|_| not_a_url())?;
        if parsed.host().is_none() {
            return Err("must name a host".to_owned());
        }
        for (name, value) in parsed.query_pairs() {
            match name.as_ref() {
                "protocol" if ["2", "3", "resp2", "resp3"].contains(&value.as_ref()) => {}
                "protocol" => return Err("must set protocol to resp2 or resp3".to_owned()),
                _ => return Err(unknown(&name)),
            }
        }
        // A fragment would select TLS without certificate checks.
        if parsed.fragment().is_some() {
            return Err("must not have a fragment (#)".to_owned());
        }
        Ok(Self(SecretString::from(url)))
    }

    /// The URL, for the driver.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisUrl(..)")
    }
}

/// Whether traffic to this URL goes to another host unencrypted.
#[must_use]
pub fn is_in_clear(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else {
        return false;
    };
    if !["redis", "http"].contains(&url.scheme()) {
        return false;
    }
    url.host().is_some() && !is_on_this_machine(&url)
}

/// Whether the host of a URL is a loopback address.
fn is_on_this_machine(url: &Url) -> bool {
    match url.host() {
        // The library parses hosts for http only; for other schemes they stay as written.
        Some(Host::Domain(name)) => {
            let address: Option<IpAddr> = name.parse().ok();
            name == "localhost" || address.is_some_and(|address| address.is_loopback())
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Validates the URL of the service as clients see it. Returns it without a trailing slash, in the form to
/// which other programs compare the issuer of a token, byte by byte.
///
/// # Errors
/// What is wrong, without the URL: it may contain a password.
pub(super) fn public_url(text: &str) -> Result<String, String> {
    super::values::one_line(text)?;
    let url = Url::parse(text).map_err(|_| "must be a URL: https://signup.example".to_owned())?;
    if !["http", "https"].contains(&url.scheme()) || url.host().is_none() {
        return Err("must be a URL: https://signup.example".to_owned());
    }
    if url.scheme() == "http" && !is_on_this_machine(&url) {
        return Err("must begin with https://, as its host is not a loopback address".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not have a user or a password".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a query (?) or a fragment (#)".to_owned());
    }
    let text = url.as_str().trim_end_matches('/');
    if text.len() > MAX_PUBLIC_URL {
        return Err(format!("must have at most {MAX_PUBLIC_URL} bytes"));
    }
    Ok(text.to_owned())
}

/// Validates the URL of a PostgreSQL, and returns whether it has an `application_name`.
fn check_postgres(url: &str) -> Result<bool, String> {
    let parsed = Url::parse(url).map_err(|_| not_a_url())?;
    if parsed.fragment().is_some() {
        return Err("must not have a fragment; in a password, # is %23".to_owned());
    }
    let mut names_application = false;
    for (name, value) in parsed.query_pairs() {
        let is_an_option = name.starts_with("options[") && name.ends_with(']');
        if !is_an_option && !POSTGRES_PARAMETERS.contains(&name.as_ref()) {
            return Err(unknown(&name));
        }
        match name.as_ref() {
            "sslmode" | "ssl-mode" if !SSL_MODES.contains(&value.as_ref()) => {
                return Err(format!(
                    "must set {name} to one of {}",
                    SSL_MODES.join(", ")
                ));
            }
            "port" if value.parse::<u16>().is_err() => {
                return Err("must set port to a number up to 65535".to_owned());
            }
            "hostaddr" if value.parse::<IpAddr>().is_err() => {
                return Err("must set hostaddr to an IP address".to_owned());
            }
            "application_name" => names_application = true,
            _ => {}
        }
    }
    Ok(names_application)
}

/// Validates the part after `sqlite://`.
fn check_sqlite(rest: &str) -> Result<(), String> {
    let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let path = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| "must be UTF-8, including its escapes".to_owned())?;
    if path.starts_with("file:") {
        return Err("must name the file itself, without file: sqlite:///dir/signup.db".to_owned());
    }
    if path.is_empty() || path.ends_with('/') || path.contains(":memory:") {
        return Err("must name a file: sqlite://data/signup.db".to_owned());
    }
    if path.chars().any(char::is_control) {
        return Err("must have no control characters".to_owned());
    }
    for (name, value) in url::form_urlencoded::parse(parameters.as_bytes()) {
        match (name.as_ref(), value.as_ref()) {
            // The file is always opened this way.
            ("mode", "rwc") | ("cache", "private") => {}
            ("mode", "memory") => {
                return Err("must name a file: sqlite://data/signup.db".to_owned());
            }
            ("mode", _) => return Err("must omit mode, or set it to rwc".to_owned()),
            ("cache", _) => return Err("must omit cache, or set it to private".to_owned()),
            _ => return Err(unknown(&name)),
        }
    }
    Ok(())
}

fn not_a_url() -> String {
    "is not a valid URL; in a password, escape special characters: @ is %40, / is %2F, ? is \
     %3F, # is %23"
        .to_owned()
}

/// Repeats the name only if it is plain: it may be part of a password.
fn unknown(name: &str) -> String {
    let is_plain = (2..=32).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c == '_' || c == '-');
    if is_plain {
        format!("has the parameter {name}, which the service does not support")
    } else {
        "has a parameter that the service does not support".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error for a URL; it must not contain the value.
    fn refused(url: &str) -> String {
        let rule = if url.starts_with("redis") {
            RedisUrl::parse(url).expect_err(url)
        } else {
            DatabaseUrl::parse(url).expect_err(url)
        };
        assert!(!rule.contains("hunter2"), "{rule}");
        rule
    }

    #[test]
    fn unknown_parameters_are_refused_by_name_without_their_values() {
        for (url, name) in [
            ("postgres://u@h/db?sslpassword=hunter2", "sslpassword"),
            ("postgres://u@h/db?passwrod=hunter2", "passwrod"),
            (
                "postgres://u@h/db?sslmode=require&connect_timeout=hunter2",
                "connect_timeout",
            ),
            (
                "postgres://u@h/db?statement-cache-capacity=0",
                "statement-cache-capacity",
            ),
            ("postgresql:///db?host=/run/postgresql&vfs=hunter2", "vfs"),
            ("sqlite://x.db?vfs=hunter2", "vfs"),
            ("sqlite://x.db?immutable=1", "immutable"),
            ("redis://h?passwd=hunter2", "passwd"),
            ("rediss://h/0?protocol=resp3&db=hunter2", "db"),
        ] {
            let rule = refused(url);
            assert!(
                rule.contains(&format!("parameter {name},")),
                "{url}: {rule}"
            );
        }
        for url in [
            "postgres://u:pass?hunter2@h/db",
            "postgres://u@h/db?hunter2",
            "postgres://u@h/db?Hunter2=x",
            "postgres://u@h/db?sslmode=hunter2",
            "postgres://u@h/db?port=hunter2",
            "postgres://u@h/db?hostaddr=hunter2",
            "postgres://u@h/db#hunter2",
            "postgres://u:hunter2/x@h/db",
            "sqlite://x.db?mode=hunter2",
            "redis://h?protocol=hunter2",
            "redis://:hunter2#x@h",
            "rediss://h#insecure",
        ] {
            refused(url);
        }
    }

    #[test]
    fn a_sqlite_file_is_opened_in_one_way() {
        for url in [
            "sqlite://x.db?cache=shared",
            "sqlite://x.db?mode=ro",
            "sqlite://x.db?mode=rw",
            "sqlite://x.db?mode=memory",
            "sqlite://file:/dir/x.db",
            "sqlite://%66ile:/dir/x.db",
            "sqlite://:memory:",
            "sqlite://%3Amemory%3A",
            "sqlite://",
            "sqlite://?mode=rwc",
            "sqlite:///dir/",
            "sqlite://x%00.db",
            "sqlite://x%ff.db",
            "sqlite:x.db",
        ] {
            refused(url);
        }
        for url in [
            "sqlite://x.db",
            "sqlite:///dir/x.db?mode=rwc",
            "sqlite://my%20data/x.db?cache=private&mode=rwc",
            "sqlite://x.db?",
        ] {
            assert!(DatabaseUrl::parse(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn known_parameters_are_accepted() {
        for url in [
            "postgres://u:p%40ss@h:5432/db",
            "postgresql:///db?host=/run/postgresql",
            "postgresql://%2Frun%2Fpostgresql/db",
            "postgres://u@h/db?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgres://h/db?user=u&password=hunter2&options[search_path]=signup",
        ] {
            assert!(DatabaseUrl::parse(url).is_ok(), "{url}");
        }
        let named = DatabaseUrl::parse("postgres://u@h/db?application_name=x");
        assert!(named.expect("a URL").names_application());
        for url in ["redis://h", "rediss://:p@h:6380/1?protocol=resp3"] {
            assert!(RedisUrl::parse(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn unencrypted_traffic_to_other_hosts_is_detected() {
        for url in ["redis://cache:6379", "redis://10.0.0.1", "http://otel:4318"] {
            assert!(is_in_clear(url), "{url}");
        }
        for url in [
            "rediss://cache",
            "https://otel:4318",
            "redis://localhost",
            "redis://127.0.0.1:6379/1",
            "redis://[::1]:6379",
            "http://127.8.9.1:4318",
            "http://[::1]:4318",
        ] {
            assert!(!is_in_clear(url), "{url}");
        }
    }
    #[test]
    fn the_public_url_is_https_beyond_loopback() {
        for (text, taken) in [
            ("https://signup.example", "https://signup.example"),
            ("https://Signup.Example/", "https://signup.example"),
            (
                "https://example.org:8443/auth/",
                "https://example.org:8443/auth",
            ),
            ("https://example.org:443", "https://example.org"),
            ("http://localhost:8000", "http://localhost:8000"),
            ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
            ("http://[::1]", "http://[::1]"),
        ] {
            assert_eq!(public_url(text).as_deref(), Ok(taken));
        }
        let long = format!("https://example.org/{}", "a".repeat(MAX_PUBLIC_URL));
        for text in [
            "",
            "signup.example",
            "http://signup.example",
            "http://10.0.0.1",
            "http://localhost.example",
            "https://",
            "https://u:hunter2@signup.example",
            "https://hunter2@signup.example",
            "https://signup.example/?hunter2",
            "https://signup.example/#hunter2",
            "https://signup.exam\nple",
            "ftp://localhost",
            &long,
        ] {
            let rule = public_url(text).expect_err(text);
            assert!(!rule.contains("hunter2"), "{rule}");
        }
    }
}
