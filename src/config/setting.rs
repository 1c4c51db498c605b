//! A setting: its names, its default and what it means; and the reference of all of them.
//!
//! The rows stand in the files of their groups. Mark a row with `secret(…)` where the value must never be shown, and with `text(…)` where a number,
//! `true` or `false` of the TOML file would be a mistake.

use std::fmt::Write;

use super::{database, hashing, http, idempotency, log, rate_limit, redis, traces};

/// One setting, as the reader and the reference page know it.
#[derive(Debug)]
pub struct Setting {
    /// The environment variable.
    pub env: &'static str,
    /// The place in the TOML file; empty where it has none.
    pub toml: &'static str,
    /// The default as text; `None` where it depends on the machine or is absent.
    pub default: Option<&'static str>,
    /// The default in words, where it is not a fixed text.
    pub default_in_words: &'static str,
    /// Whether the value is never shown.
    pub secret: bool,
    /// Whether only a text of the TOML file will do. So it is for every secret.
    pub text: bool,
    /// What it does.
    pub meaning: &'static str,
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
        default_in_words: "",
        secret: false,
        text: false,
        meaning,
    }
}

pub(super) const fn worded(
    env: &'static str,
    toml: &'static str,
    default_in_words: &'static str,
    meaning: &'static str,
) -> Setting {
    Setting {
        env,
        toml,
        default: None,
        default_in_words,
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

/// A standard variable that has no place in the TOML file.
pub(super) const fn standard(
    env: &'static str,
    default_in_words: &'static str,
    meaning: &'static str,
) -> Setting {
    text(worded(env, "", default_in_words, meaning))
}

/// Every setting there is, by groups.
const GROUPS: &[&[Setting]] = &[
    http::SETTINGS,
    database::SETTINGS,
    redis::SETTINGS,
    hashing::SETTINGS,
    idempotency::SETTINGS,
    rate_limit::SETTINGS,
    log::SETTINGS,
    traces::SETTINGS,
];

/// Every setting there is.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().copied().flatten()
}

/// The row of a setting, by its place in the file, or by its variable where it has no place there.
pub fn find(name: &str) -> Option<&'static Setting> {
    find_in_file(name).or_else(|| all().find(|setting| setting.env == name))
}

/// The row of a setting, by its place in the file.
pub fn find_in_file(toml: &str) -> Option<&'static Setting> {
    all().find(|setting| !setting.toml.is_empty() && setting.toml == toml)
}

/// The reference page, `docs/settings.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = String::from(
        "# Settings\n\
         \n\
         Each has a default, so that the service starts with none; only on PostgreSQL it wants \
         `IDEMPOTENCY_SECRET`. Later wins: the defaults, \
         then a TOML file (`--config FILE` or `SIGNUP_CONFIG`), then the environment, then `--host` \
         and `--port`. An empty variable counts as not set. A wrong value stops the start, with every \
         mistake listed at once.\n\
         \n\
         | environment | TOML | default | meaning |\n\
         |---|---|---|---|\n",
    );
    for setting in all() {
        let default = setting.default.map_or_else(
            || setting.default_in_words.to_owned(),
            |text| format!("`{text}`"),
        );
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
         Each variable may have `_FILE` at its end, and then names a file with the value: \
         `DATABASE_URL_FILE=/run/secrets/database-url`. White space at its ends and a byte order mark do not \
         count. A variable and its `_FILE` must not both be set.\n\
         \n\
         What may be a secret is never shown: neither the URLs, headers and secrets themselves, nor what \
         stands where a file's name or a setting's name belongs.\n\
         \n\
         The variables that begin with `OTEL_` are standard, and may be set for all programs of a machine. As \
         OpenTelemetry asks for, a value of theirs that is not known here is ignored, with a warning in the \
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_page_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.md");
        let written = std::fs::read_to_string(path).expect("docs/settings.md");
        assert!(
            written == reference(),
            "docs/settings.md is stale: run `make docs`"
        );
    }
}
