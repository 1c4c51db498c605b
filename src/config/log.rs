//! The settings of the logs.

use super::reader::Sources;
use super::setting::{Setting, fixed, text, worded};

/// Their rows.
pub(super) const SETTINGS: &[Setting] = &[
    text(worded(
        "LOG_FORMAT",
        "log.format",
        "`pretty` on a terminal, else `json`",
        "How a log line looks.",
    )),
    text(fixed(
        "RUST_LOG",
        "log.filter",
        "info",
        "What is logged, such as `info,sqlx=debug`.",
    )),
];

/// Settings of the logs.
#[derive(Debug, Clone)]
pub struct LogSettings {
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

pub(super) fn read(s: &mut Sources, stdout_is_terminal: bool) -> LogSettings {
    let default_format = if stdout_is_terminal {
        LogFormat::Pretty
    } else {
        LogFormat::Json
    };
    LogSettings {
        format: s.take_or("log.format", default_format, |text| match text {
            "pretty" => Ok(LogFormat::Pretty),
            "json" => Ok(LogFormat::Json),
            _ => Err("must be pretty or json".to_owned()),
        }),
        filter: s.take("log.filter", filter),
    }
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
