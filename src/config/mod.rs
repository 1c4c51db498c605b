//! The settings: defaults, then a TOML file, then the environment, then command line options.
//!
//! Each group is a file with its rows, its struct, and its `read`. To add a setting, go to its
//! group: add a row, a field, and a line in `read`. If it can contradict one of another group, add
//! a check to [`contradictions`]. A test keeps `docs/reference/settings.md` up to date, and another tries
//! invalid values and pairs of every row.

mod auth;
mod database;
mod hashing;
mod http;
mod idempotency;
mod log;
mod mail;
mod passwords;
mod rate_limit;
mod reader;
mod redis;
mod setting;
mod traces;
mod urls;
mod values;
#[cfg(test)]
mod walk;

use std::net::SocketAddr;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

pub use auth::{AuthSettings, DEFAULT_PUBLIC_URL, MAX_ACCESS_TOKEN_TTL, TokenAlgorithm};
pub use database::DatabaseSettings;
pub use hashing::{HashShares, HashingSettings};
pub use http::{AdministrationSettings, HttpSettings};
pub use idempotency::IdempotencySettings;
pub use log::{LogFormat, LogSettings};
pub use mail::{MailSettings, MailUrl, SmtpTls, SmtpUrl};
pub use passwords::PasswordSettings;
pub use rate_limit::Rate;
pub use reader::{CommandLineOption, Mistakes, Sources, Warning, may_be_shown};
pub use setting::{Setting, default_of, reference};
pub use traces::{TraceProtocol, TraceSampler, TraceSettings};
pub use urls::{Backend, DatabaseUrl, RedisUrl, is_in_clear};
pub use values::MIN_SECRET_BYTES;

/// All settings, validated.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The HTTP server.
    pub http: HttpSettings,
    /// The database.
    pub database: DatabaseSettings,
    /// The Redis URL, if configured.
    pub redis: Option<RedisUrl>,
    /// Password hashing.
    pub hashing: HashingSettings,
    /// Idempotency keys.
    pub idempotency: IdempotencySettings,
    /// Sessions and tokens.
    pub auth: AuthSettings,
    /// Mail.
    pub mail: MailSettings,
    /// Passwords.
    pub passwords: PasswordSettings,
    /// The limit of signups per client; `None` for no limit.
    pub signup_rate: Option<Rate>,
    /// The limit of requests with a password per client; `None` for no limit.
    pub login_rate: Option<Rate>,
    /// The limit of refreshes per client; `None` for no limit.
    pub refresh_rate: Option<Rate>,
    /// The maximum rate of each kind of change of a user's own account; `None` for no limit.
    pub user_rate: Option<Rate>,
    /// The limit of requests for a mail per client; `None` for no limit.
    pub mail_rate: Option<Rate>,
    /// Logs.
    pub log: LogSettings,
    /// Traces.
    pub traces: TraceSettings,
    /// Warnings about valid settings, to be logged once logging has started.
    pub warnings: Vec<Warning>,
}

impl Settings {
    /// Reads the settings from the file, if one is named, the environment, and the command line.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn load(
        file: Option<&Path>,
        options: &[CommandLineOption],
        stdout_is_terminal: bool,
    ) -> Result<Self, Mistakes> {
        Self::from_sources(Sources::from_system(file, options)?, stdout_is_terminal)
    }

    /// Validates the values of the sources.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn from_sources(mut sources: Sources, stdout_is_terminal: bool) -> Result<Self, Mistakes> {
        let s = &mut sources;
        let http = http::read(s);
        let database = database::read(s);
        let redis = redis::read(s);
        let hashing = hashing::read(s);
        let idempotency = idempotency::read(s);
        let auth = auth::read(s);
        let mail = mail::read(s);
        let passwords = passwords::read(s);
        let rates = rate_limit::read(s, http.is_on_loopback());
        let log = log::read(s, stdout_is_terminal);
        let traces = traces::read(s);
        contradictions(s, &http, &idempotency, &auth, &mail);
        let warnings = sources.finish()?;
        Ok(Self {
            http,
            database,
            redis,
            hashing,
            idempotency,
            auth,
            mail,
            passwords,
            signup_rate: rates.signup,
            login_rate: rates.login,
            refresh_rate: rates.refresh,
            user_rate: rates.user,
            mail_rate: rates.mail,
            log,
            traces,
            warnings,
        })
    }
}

/// Whether two listeners would have the same address and port.
fn is_same_place(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (everywhere || one.ip() == other.ip())
}

/// Rejects settings that are valid separately, but not together.
fn contradictions(
    s: &mut Sources,
    http: &HttpSettings,
    idempotency: &IdempotencySettings,
    auth: &AuthSettings,
    mail_settings: &MailSettings,
) {
    let is_same = |secret: &Option<SecretString>, previous: &Option<SecretString>| {
        let both = secret.as_ref().zip(previous.as_ref());
        both.is_some_and(|(one, other)| one.expose_secret() == other.expose_secret())
    };
    if is_same(&idempotency.secret, &idempotency.secret_previous) {
        s.mistake(
            "idempotency.secret_previous",
            "is the same as IDEMPOTENCY_SECRET; omit it, or set it to the previous secret",
        );
    }
    if is_same(&auth.secret, &auth.secret_previous) {
        s.mistake(
            "auth.secret_previous",
            "is the same as AUTH_SECRET; omit it, or set it to the previous secret",
        );
    }
    let main = SocketAddr::new(http.host, http.port);
    if http.operations.is_some_and(|own| is_same_place(own, main)) {
        s.mistake(
            "operations.port",
            "is the same as PORT; use another port, or omit it",
        );
    }
    // The default gives way to the others when the service starts.
    let admin = http.administration;
    let others = [("PORT", Some(main)), ("OPERATIONS_PORT", http.operations)];
    for (name, other) in others {
        let is_same = other.is_some_and(|other| is_same_place(admin.address, other));
        if admin.is_port_set && is_same {
            s.mistake(
                "admin.port",
                &format!("is the same as {name}; use another port, or 0 for a free one"),
            );
        }
    }
    if idempotency.ttl < http.request_timeout {
        s.warn(
            "idempotency.ttl_seconds",
            "outcomes are kept for less time than a request may take (REQUEST_TIMEOUT_MS), so a retry \
             may be executed again",
        );
    }
    if !http.pages && mail_settings.link_url.is_none() {
        s.warn(
            "http.pages",
            "the links in mails lead to pages that are switched off; set MAIL_LINK_URL to those of your own",
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::http::networks;
    use super::rate_limit::{DEFAULT_RATE, rate};
    use super::*;

    fn settings(env: &[(&str, &str)], file: &str) -> Result<Settings, Mistakes> {
        Settings::from_sources(Sources::given(env, file)?, false)
    }

    #[test]
    fn every_setting_has_a_valid_default() {
        let settings = settings(&[], "").expect("the defaults are valid");
        assert_eq!(settings.http.host.to_string(), "127.0.0.1");
        assert_eq!(settings.http.port, 8000);
        assert_eq!(settings.database.url.expose(), "sqlite://data/signup.db");
        assert!(settings.database.migrate);
        assert_eq!(settings.hashing.cost, 12);
        assert_eq!(settings.log.format, LogFormat::Json);
    }

    #[test]
    fn administration_is_on_loopback_and_gives_way_by_default() {
        let of = |env: &[(&str, &str)]| settings(env, "").map(|found| found.http.administration);
        let defaults = of(&[]).expect("valid");
        let port = defaults.address.port().to_string();
        assert_eq!(default_of("ADMIN_PORT"), Some(format!("`{port}`")));
        assert!(defaults.address.ip().is_loopback() && !defaults.is_port_set);
        // Another listener has the default port, which the start deals with.
        assert_eq!(of(&[("PORT", "8001")]).expect("valid"), defaults);
        assert!(of(&[("ADMIN_PORT", "0")]).expect("valid").is_port_set);
        for (name, other) in [("PORT", "PORT"), ("OPERATIONS_PORT", "OPERATIONS_PORT")] {
            let same = [(name, "7000"), ("ADMIN_PORT", "7000")];
            let text = of(&same).expect_err("one place").to_string();
            assert!(
                text.starts_with(&format!("ADMIN_PORT is the same as {other}")),
                "{text}"
            );
            let elsewhere = [same[0], same[1], ("ADMIN_HOST", "::1")];
            assert!(of(&elsewhere).is_ok());
        }
        let everywhere = [
            ("HOST", "0.0.0.0"),
            ("PORT", "7000"),
            ("ADMIN_PORT", "7000"),
        ];
        assert!(of(&everywhere).is_err());
    }

    #[test]
    fn the_environment_takes_precedence_over_the_file() {
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
        let explicit = [
            ("DATABASE_URL", "postgres://h/d"),
            ("DATABASE_MIGRATE", "true"),
        ];
        assert!(settings(&explicit, "").expect("valid").database.migrate);
    }

    #[test]
    fn all_mistakes_are_reported_at_once_without_secrets() {
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
            "http.prot is not a setting (line 2); did you mean http.port?",
            "line 6 of the settings file is not a setting",
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
    fn rates_and_networks_are_parsed() {
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
    fn signups_are_limited_beyond_loopback() {
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
    fn lives_of_tokens_are_bounded() {
        let defaults = settings(&[], "").expect("valid").auth;
        assert_eq!(defaults.access_token_ttl, Duration::from_mins(30));
        assert_eq!(defaults.refresh_ttl, Duration::from_hours(7 * 24));
        assert_eq!(defaults.session_max_age, Duration::from_hours(30 * 24));
        assert_eq!(defaults.refresh_grace, Duration::from_secs(30));
        assert_eq!(defaults.token_algorithm, TokenAlgorithm::Es256);
        for (name, most) in [
            ("ACCESS_TOKEN_TTL_SECONDS", 3_600),
            ("REFRESH_GRACE_SECONDS", 300),
        ] {
            let with = |value: u32| settings(&[(name, &value.to_string())], "");
            assert!(with(most).is_ok() && with(most + 1).is_err(), "{name}");
        }
    }

    #[test]
    fn a_signing_key_may_come_from_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key.pem");
        let pem = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----";
        std::fs::write(&file, format!("{pem}\n")).expect("written");
        let path = file.to_str().expect("UTF-8");
        let settings = settings(&[("TOKEN_KEY_FILE", path)], "").expect("valid");
        let key = settings.auth.token_key.as_ref().expect("set");
        assert_eq!(key.expose_secret(), pem);
        assert!(!format!("{settings:?}").contains("hunter2"));
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
