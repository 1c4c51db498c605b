//! Tests the table of settings: every row with valid values, invalid values and every other row.
//!
//! Whatever is set, the outcome is settings, or messages that name what to fix; never a panic, and
//! never a secret. A new row is tested like the others. If none of [`CANDIDATES`] is valid for it,
//! add one; if it contradicts another row on purpose, add it to [`CONTRADICTIONS`].

use super::setting::{self, Setting};
use super::*;

/// Part of each value that could be a secret.
const CANARY: &str = "hunter2canary";

/// Two secrets that are long enough.
const SECRET: &str = "hunter2canary-hunter2canary-hunter2canary";
const OTHER_SECRET: &str = "canaryhunter2-canaryhunter2-canaryhunter2";

/// Values that are valid for some row.
const CANDIDATES: &[&str] = &[
    "direct",
    "0",
    "1",
    "4",
    "8",
    "10",
    "31",
    "100",
    "512",
    "1000",
    "1024",
    "65535",
    "65536",
    "100000",
    "1000000",
    "3600000",
    "31536000",
    "0.5",
    "true",
    "false",
    "on",
    "off",
    "none",
    "localhost",
    "[::1]",
    "0.0.0.0",
    "10.0.0.0/8,::1",
    "example.org",
    "https://example.org",
    "20/1m",
    "1/86400h",
    "3:2:2:1",
    "1:100:1:100",
    "info",
    "trace,sqlx=off",
    "pretty",
    "json",
    "sqlite://hunter2canary/x.db",
    "postgres://u:hunter2canary@h/d",
    "postgresql://u:hunter2canary@other/d",
    "redis://:hunter2canary@h/0",
    "rediss://h",
    "http://u:hunter2canary@h:4318",
    "https://h/hunter2canary?hunter2canary=hunter2canary",
    "grpc",
    "http/protobuf",
    "gzip",
    "otlp",
    "always_off",
    "parentbased_traceidratio",
    "a=hunter2canary,b=%20",
    "open",
    "protected",
    "ES256",
    "RS256",
    "-----BEGIN PRIVATE KEY-----\nhunter2canary\n-----END PRIVATE KEY-----",
    SECRET,
    OTHER_SECRET,
];

/// Rows that must not be set together, whatever their values.
const CONTRADICTIONS: &[(&str, &str)] = &[
    ("IDEMPOTENCY_SECRET", "IDEMPOTENCY_SECRET_PREVIOUS"),
    ("AUTH_SECRET", "AUTH_SECRET_PREVIOUS"),
    ("DATABASE_URL", "DATABASE_READ_URL"),
    ("PORT", "OPERATIONS_PORT"),
    ("PORT", "ADMIN_PORT"),
    ("OPERATIONS_PORT", "ADMIN_PORT"),
];

fn settings(env: &[(&str, &str)], file: &str) -> Result<Settings, Mistakes> {
    Settings::from_sources(Sources::given(env, file)?, false)
}

/// The error text, which contains no secret and names the setting; or the settings with their
/// warnings.
fn outcome(env: &[(&str, &str)], file: &str, names: &[&str]) -> Result<Settings, String> {
    let outcome = settings(env, file).map_err(|mistakes| mistakes.to_string());
    let shown = match &outcome {
        Ok(settings) => {
            let mut settings = settings.clone();
            // Any word is a valid filter, a host, an audience, a path, or a sender.
            settings.log.filter.clear();
            settings.http.hosts.clear();
            settings.auth.token_audience = None;
            settings.passwords.breached_file = None;
            settings.mail.from = None;
            settings.mail.templates = None;
            format!("{settings:?}")
        }
        Err(mistakes) => mistakes.clone(),
    };
    assert!(!shown.contains(CANARY), "{names:?} shows {shown}");
    if let Err(mistakes) = &outcome {
        let mut lines = mistakes
            .lines()
            .filter(|line| !line.ends_with("are invalid:"));
        assert!(
            lines.all(|line| names.iter().any(|name| line.contains(name))),
            "{names:?}: {mistakes}"
        );
        assert!(mistakes.lines().count() <= 1 + names.len(), "{mistakes}");
    }
    outcome
}

/// Other rows that must be set for this one to be valid.
fn beside(setting: &Setting) -> &'static [(&'static str, &'static str)] {
    match setting.env {
        "DATABASE_READ_URL" => &[("DATABASE_URL", "postgres://u:hunter2canary@h/d")],
        "OPERATIONS_HOST" => &[("OPERATIONS_PORT", "8001")],
        _ => &[],
    }
}

fn is_good(setting: &Setting, value: &str) -> bool {
    let mut env = beside(setting).to_vec();
    env.push((setting.env, value));
    let names = [setting.env, setting.toml];
    outcome(&env, "", &names).is_ok_and(|settings| settings.warnings.is_empty())
}

fn good_values(setting: &Setting) -> Vec<&'static str> {
    let values: Vec<&str> = CANDIDATES
        .iter()
        .copied()
        .filter(|value| is_good(setting, value))
        .collect();
    assert!(!values.is_empty(), "a good value of {}", setting.env);
    values
}

/// Values that are invalid for every row.
fn bad_values() -> Vec<String> {
    let mut values: Vec<String> = [
        "",
        " ",
        "\t \n",
        "-1",
        "-0",
        "+1",
        "1.",
        "1e3",
        "0x10",
        "1_000",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "340282366920938463463374607431768211456",
        "NaN",
        "inf",
        "1e999",
        "null",
        "TRUE",
        "yes please",
        "://",
        "http://",
        "http://[",
        "http://:hunter2canary@",
        "sqlite://",
        "sqlite://?hunter2canary",
        "postgres://",
        "redis://",
        "mysql://u:hunter2canary@h/d",
        "HTTP://u:hunter2canary@h",
        "/run/secrets/hunter2canary@",
        "Bearer hunter2canary=",
        "=hunter2canary",
        "a=hunter2canary\u{7f}",
        "a=%ff,hunter2canary=%00",
        "postgres://u:hunter2canary@h/d\npostgres://h/d",
        "redis://:hunter2canary@h\r\nx",
        "20/999999h",
        "0/0s",
        "[{=",
        "\u{feff}",
        "\u{202e}hunter2canary",
        "\u{0}hunter2canary",
        "🦀=hunter2canary",
    ]
    .map(str::to_owned)
    .into();
    values.push(format!("{CANARY}@").repeat(1_000));
    values.push("9".repeat(5_000));
    values
}

#[test]
fn every_setting_alone() {
    for setting in setting::all() {
        let names = [setting.env, setting.toml];
        good_values(setting);
        for value in bad_values() {
            let taken = outcome(&[(setting.env, &value)], "", &names);
            // An invalid standard variable is ignored, with a warning.
            if setting.env.starts_with("OTEL_") {
                assert!(taken.is_ok(), "{} is {value:?}: {taken:?}", setting.env);
            }
            if value.is_empty() {
                let taken = taken.expect("an empty variable counts as not set");
                assert_eq!(taken.warnings, [], "{}", setting.env);
            }
        }
    }
}

#[test]
fn every_setting_from_its_own_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("value");
    let path = file.to_str().expect("UTF-8");
    for setting in setting::all() {
        let name = format!("{}_FILE", setting.env);
        let names = [name.as_str()];
        for value in good_values(setting) {
            let mut env = beside(setting).to_vec();
            let mut from_file = env.clone();
            env.push((setting.env, value));
            from_file.push((&name, path));
            std::fs::write(&file, format!("\u{feff}{value}\r\n")).expect("written");
            let taken = outcome(&from_file, "", &names).expect(&name);
            let expected = settings(&env, "").expect(setting.env);
            assert_eq!(format!("{taken:?}"), format!("{expected:?}"), "{name}");
            let both: Vec<_> = [&env[..], &[(&name, path)]].concat();
            let text = outcome(&both, "", &names).expect_err("both are set");
            assert!(text.contains("are both set"), "{text}");
        }
        for value in bad_values() {
            std::fs::write(&file, &value).expect("written");
            let _ = outcome(&[(&name, path)], "", &names);
        }
        std::fs::write(&file, [0xff, 0xfe, b'h', 0]).expect("written");
        let text = outcome(&[(&name, path)], "", &names).expect_err("UTF-16");
        assert!(text.contains("not UTF-8") && text.contains(path), "{text}");
        for nowhere in [
            "postgres://u:hunter2canary@h/d",
            SECRET,
            "/nowhere/hunter2canary",
            "hunter2canary\u{0}",
            ".",
        ] {
            outcome(&[(&name, nowhere)], "", &names).expect_err("no such file");
        }
        // It is endless.
        let text = outcome(&[(&name, "/dev/zero")], "", &names).expect_err("too large");
        assert!(text.contains("larger than"), "{text}");
    }
}

#[test]
fn every_setting_in_the_settings_file() {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    for setting in setting::all().filter(|setting| !setting.toml.is_empty()) {
        let names = [setting.toml];
        for value in good_values(setting) {
            let file = format!("{} = {}", setting.toml, quoted(value));
            let from_file = outcome(beside(setting), &file, &names).expect(setting.toml);
            let mut env = beside(setting).to_vec();
            env.push((setting.env, value));
            let expected = settings(&env, "").expect(setting.env);
            assert_eq!(format!("{from_file:?}"), format!("{expected:?}"));
            // Without quotes it is a number, or true or false; or invalid TOML.
            let bare = format!("{} = {value}", setting.toml);
            if bare.parse::<toml::Table>().is_ok() {
                let taken = outcome(beside(setting), &bare, &names);
                assert_eq!(taken.is_err(), setting.text, "{bare}: {taken:?}");
            }
        }
        for value in bad_values() {
            let file = format!("{} = {}", setting.toml, quoted(&value));
            let _ = outcome(&[], &file, &names);
        }
        // Each contains a secret that is long enough.
        for (value, kind) in [
            (format!("[\"{SECRET}\"]"), "a list"),
            ("[]".to_owned(), "a list"),
            (format!("{{ \"{SECRET}\" = \"{SECRET}\" }}"), "a table"),
            ("1979-05-27T00:32:00.999999999-07:00".to_owned(), "a date"),
        ] {
            let file = format!("{} = {value}", setting.toml);
            let text = outcome(&[], &file, &names).expect_err("another type");
            assert!(text.ends_with(kind), "{text}");
        }
        for number in ["1e300", "inf", "-9223372036854775808"] {
            let file = format!("{} = {number}", setting.toml);
            outcome(&[], &file, &names).expect_err("no setting has such a number");
        }
        // As a section, with the secret for a name.
        let file = format!("[{}.{CANARY}]\nx = 1\n", setting.toml);
        outcome(&[], &file, &names).expect_err("no section");
    }
}

#[test]
fn every_pair_of_settings() {
    let alone: Vec<_> = setting::all()
        .map(|setting| {
            let values = good_values(setting);
            let mut some = vec![
                values[0],
                values[values.len() / 2],
                values[values.len() - 1],
            ];
            some.dedup();
            (setting, some)
        })
        .collect();
    for (at, (one, values)) in alone.iter().enumerate() {
        for (other, others) in &alone[at + 1..] {
            let may_differ = CONTRADICTIONS.contains(&(one.env, other.env));
            let mut refused = 0;
            for value in values {
                for other_value in others {
                    let mut env = vec![(one.env, *value), (other.env, *other_value)];
                    for needed in beside(one).iter().chain(beside(other)) {
                        if env.iter().all(|(name, _)| *name != needed.0) {
                            env.push(*needed);
                        }
                    }
                    let names = [one.env, other.env];
                    refused += usize::from(outcome(&env, "", &names).is_err());
                }
            }
            assert_eq!(
                refused > 0,
                may_differ,
                "{} and {} together: {refused} refused",
                one.env,
                other.env
            );
        }
    }
}

#[test]
fn one_value_for_both_secrets_is_refused() {
    let both = [
        ("IDEMPOTENCY_SECRET", SECRET),
        ("IDEMPOTENCY_SECRET_PREVIOUS", SECRET),
    ];
    let text = settings(&both, "").expect_err("no rotation").to_string();
    assert!(
        text.starts_with("IDEMPOTENCY_SECRET_PREVIOUS is the same as"),
        "{text}"
    );
}

#[test]
fn a_life_shorter_than_a_request_causes_a_warning() {
    let warned = |ttl, timeout| {
        let env = [
            ("IDEMPOTENCY_TTL_SECONDS", ttl),
            ("REQUEST_TIMEOUT_MS", timeout),
        ];
        let warnings = settings(&env, "").expect("valid").warnings;
        warnings.iter().any(|warning| warning.setting == env[0].0)
    };
    assert!(warned("1", "1001") && warned("10", "3600000"));
    assert!(!warned("1", "1000") && !warned("3600", "3600000"));
}

#[test]
fn the_maximum_of_threads_is_that_of_the_server() {
    let workers =
        |text| settings(&[("HTTP_WORKERS", text)], "").map(|settings| settings.http.workers);
    // `actix_server::ServerBuilder::workers` panics beyond.
    assert_eq!(workers("512").expect("valid"), 512);
    for wrong in ["513", "1024", "0"] {
        assert!(workers(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn invalid_toml_is_reported_by_its_line_and_column() {
    for (file, place) in [
        ("[http]\nport = hunter2canary\n", "line 2, column 8"),
        ("[http\n", "line 1, column 6"),
        ("\"é\" = hunter2canary", "line 1, column 7"),
        ("x = \"hunter2canary\nx\"", "line "),
        ("\u{feff}[http]\nhunter2canary hunter2canary", "line 2"),
        ("a = 1\na = \"hunter2canary\"", "line 2, column 1"),
        ("[http]\nport.hunter2canary = 1\nport = 2\n", "line 3"),
        ("x = \"hunter2canary\\q\"", "line 1"),
        ("x = 'hunter2canary", "line 1"),
        ("hunter2canary = 1979-99-99", "line 1"),
    ] {
        let text = settings(&[], file).expect_err("no TOML").to_string();
        assert!(
            text.contains("is not valid TOML") && text.contains(place),
            "{text}"
        );
        assert!(!text.contains(CANARY), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    let deep = format!("x = {}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(settings(&[], &deep).is_err());
}

#[test]
fn near_misses_are_suggested_and_other_names_not_repeated() {
    for (file, meant) in [
        ("[http]\nprot = 1", "http.port"),
        ("[htpp]\nport = 1", "http"),
        ("[database]\nurll = \"hunter2canary\"", "database.url"),
        ("[hashing]\ncosts = 1", "hashing.cost"),
    ] {
        let text = settings(&[], file).expect_err("no setting").to_string();
        assert!(text.ends_with(&format!("did you mean {meant}?")), "{text}");
        assert!(!text.contains(CANARY), "{text}");
    }
    for file in [
        "\"postgres://u:hunter2canary@h/d\" = 1",
        "hunter2canary = 1",
        "[idempotency]\nhunter2canary = \"x\"",
        "[hunter2canary.hunter2canary]\n",
    ] {
        let text = settings(&[], file).expect_err("no setting").to_string();
        assert!(text.contains("line ") && !text.contains(CANARY), "{text}");
    }
    let text = settings(&[], "http = 1")
        .expect_err("a section")
        .to_string();
    assert_eq!(text, "http is a section, and not a setting");
}

#[test]
fn a_variable_that_is_nearly_a_setting_causes_a_warning() {
    let warnings = |name| settings(&[(name, CANARY)], "").expect("valid").warnings;
    for (name, meant) in [
        ("BCRYPT_COTS", "BCRYPT_COST"),
        ("REDIS_URI", "REDIS_URL"),
        ("DATABASE_URL_FIEL", ""),
        ("DATABSE_URL_FILE", "DATABASE_URL"),
        ("IDEMPOTENCY_SECRETS", "IDEMPOTENCY_SECRET"),
        ("POST", ""),
        ("PATH", ""),
        ("HOSTS", ""),
        ("SIGNUP_CONFIG", ""),
    ] {
        let warnings = warnings(name);
        assert_eq!(warnings.len(), usize::from(!meant.is_empty()), "{name}");
        for warning in warnings {
            assert_eq!(warning.setting, name);
            assert!(warning.text.ends_with(&format!("{meant}?")), "{warning:?}");
        }
    }
}

#[test]
fn options_take_precedence_over_the_environment() {
    let taken = |name: &'static str, option, value: &str| {
        let mut sources = Sources::given(&[("PORT", "1"), ("HOST", "::1")], "").expect("valid");
        sources.take_options(&[(name, option, Some(value.to_owned()))]);
        Settings::from_sources(sources, false)
    };
    assert_eq!(
        taken("http.port", "--port", "2").expect("valid").http.port,
        2
    );
    let host = taken("http.host", "--host", "LOCALHOST")
        .expect("valid")
        .http
        .host;
    assert!(host.is_loopback());
    let text = taken("http.port", "--port", "70000")
        .expect_err("a mistake")
        .to_string();
    assert!(text.starts_with("--port is \"70000\""), "{text}");
}
