//! A setting: its names, its default and its meaning; and the reference page of all settings.
//!
//! The rows are in the files of their groups. Mark a row with `secret(…)` if the value must never
//! be shown, and with `text(…)` if a number, `true` or `false` in the TOML file would be a mistake.

use std::fmt::Write;

use super::{
    auth, database, hashing, http, idempotency, log, mail, passwords, rate_limit, redis, traces,
};

/// A setting, for the reader and the reference page.
#[derive(Debug)]
pub struct Setting {
    /// The environment variable.
    pub env: &'static str,
    /// The path in the TOML file; empty if it has none.
    pub toml: &'static str,
    /// The default as text; `None` if it depends on the machine or is absent.
    pub default: Option<&'static str>,
    /// A description of the default, if it is not a fixed text.
    pub default_description: &'static str,
    /// Whether the value must never be shown.
    pub secret: bool,
    /// Whether only a string is valid in the TOML file. That is so for every secret.
    pub text: bool,
    /// Its meaning.
    pub meaning: &'static str,
}

impl Setting {
    fn default_as_written(&self) -> String {
        self.default.map_or_else(
            || self.default_description.to_owned(),
            |text| format!("`{text}`"),
        )
    }
}

pub(super) const fn fixed(
    env: &'static str,
    toml: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting {
        env,
        toml,
        default: Some(default),
        default_description: "",
        secret: false,
        text: false,
        meaning,
    }
}

pub(super) const fn worded(
    env: &'static str,
    toml: &'static str,
    default_description: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting {
        env,
        toml,
        default: None,
        default_description,
        secret: false,
        text: false,
        meaning,
    }
}

pub(super) const fn secret(setting: Setting) -> Setting {
    let mut setting = text(setting);
    setting.secret = true;
    setting
}

pub(super) const fn text(mut setting: Setting) -> Setting {
    setting.text = true;
    setting
}

/// A standard variable without a path in the TOML file.
pub(super) const fn standard(
    env: &'static str,
    default_description: &'static str,
    meaning: &'static str,
) -> Setting {
    text(worded(env, "", default_description, meaning))
}

/// All settings, by group.
const GROUPS: &[&[Setting]] = &[
    http::SETTINGS,
    database::SETTINGS,
    redis::SETTINGS,
    hashing::SETTINGS,
    idempotency::SETTINGS,
    auth::SETTINGS,
    mail::SETTINGS,
    passwords::SETTINGS,
    rate_limit::SETTINGS,
    log::SETTINGS,
    traces::SETTINGS,
];

/// All settings.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().copied().flatten()
}

/// The row of a setting, by its path in the file, or by its variable if it has no path.
pub fn find(name: &str) -> Option<&'static Setting> {
    find_in_file(name).or_else(|| all().find(|setting| setting.env == name))
}

/// The row of a setting, by its path in the file.
pub fn find_in_file(toml: &str) -> Option<&'static Setting> {
    all().find(|setting| !setting.toml.is_empty() && setting.toml == toml)
}

/// The default of the setting with this environment variable, as the reference page writes it; `None` if
/// there is no such setting.
#[must_use]
pub fn default_of(env: &str) -> Option<String> {
    all()
        .find(|setting| setting.env == env)
        .map(Setting::default_as_written)
}

/// The reference page, `docs/reference/settings.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Settings\n\
         \n\
         Every setting has a default, so the service starts without any; only PostgreSQL requires \
         `IDEMPOTENCY_SECRET` and `AUTH_SECRET`. In order of precedence, lowest first: the defaults, \
         a TOML file (`--config FILE` or `SIGNUP_CONFIG`), the environment, then `--host` \
         and `--port`. An empty variable counts as not set. An invalid value prevents the start, with all \
         mistakes listed at once.\n\
         \n\
         | environment | TOML | default | meaning |\n\
         |---|---|---|---|\n",
    );
    for setting in all() {
        let default = setting.default_as_written();
        let toml = if setting.toml.is_empty() {
            "-".to_owned()
        } else {
            format!("`{}`", setting.toml)
        };
        let _ = writeln!(
            page,
            "| `{}` | {toml} | {default} | {} |",
            setting.env, setting.meaning
        );
    }
    page.push_str(
        "\n\
         Each variable may have the suffix `_FILE`, and then names a file with the value: \
         `DATABASE_URL_FILE=/run/secrets/database-url`. White space at its ends and a byte order mark are \
         ignored. A variable and its `_FILE` must not both be set.\n\
         \n\
         Values that may be secret are never shown: neither URLs, headers and secrets themselves, nor a value \
         in the place of a file's name or a setting's name.\n\
         \n\
         The variables that begin with `OTEL_` are standard, and may be set for all programs of a machine. As \
         OpenTelemetry requires, an unknown value of one is ignored, with a warning in the \
         log; the same value in the TOML file is a mistake. The OpenTelemetry SDK itself reads \
         `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`.\n\
         \n\
         The same in a file:\n\
         \n\
         ```toml\n\
         [http]\n\
         port = 8080\n\
         request_timeout_ms = 5000\n\
         \n\
         [database]\n\
         url = \"postgres://signup@db.internal/signup\"\n\
         \n\
         [log]\n\
         format = \"json\"\n\
         ```\n",
    );
    page
}
