//! Settings of logging.

use super::reader::Sources;
use super::setting::{Setting, fixed, text, worded};

/// The rows of this group.
pub(super) const SETTINGS: &[Setting] = &[
    text(worded(
        "LOG_FORMAT",
        "log.format",
        "`pretty` on a terminal, else `json`",
        "The format of log lines.",
    )),
    text(fixed(
        "RUST_LOG",
        "log.filter",
        "info",
        "The filter of log lines, such as `info,sqlx=debug`.",
    )),
];

/// Settings of logging.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// The format of log lines.
    pub format: LogFormat,
    /// The filter of log lines, in the syntax of `tracing-subscriber`.
    pub filter: String,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Human-readable.
    Pretty,
    /// One JSON object per line.
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

/// Parses a filter. The library would accept a URL, which lets nothing through.
fn filter(text: &str) -> Result<String, String> {
    let parsed = tracing_subscriber::EnvFilter::try_new(text);
    parsed
        .ok()
        .filter(|_| !text.contains("//") && !text.contains('@'))
        .map(|_| text.to_owned())
        .ok_or_else(|| "must be a filter such as info or info,sqlx=debug".to_owned())
}
