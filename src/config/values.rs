//! Parsers shared by settings of several groups.

use std::fmt;
use std::time::Duration;

/// Refuses control characters: URL parsers drop some of them.
pub fn one_line(url: &str) -> Result<(), String> {
    if url.contains(char::is_control) {
        return Err("must be one line, without control characters".to_owned());
    }
    Ok(())
}

/// A whole number within these bounds.
pub fn number<T>(text: &str, (least, most): (T, T)) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + fmt::Display,
{
    text.parse()
        .ok()
        .filter(|number| (&least..=&most).contains(&number))
        .ok_or_else(|| format!("must be a whole number from {least} to {most}"))
}

/// Milliseconds, up to an hour: a longer duration is a mistake in the unit.
pub fn millis(text: &str, least: u64) -> Result<Duration, String> {
    number(text, (least, 3_600_000))
        .map(Duration::from_millis)
        .map_err(|error| format!("{error} (milliseconds)"))
}

/// A boolean.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("must be true or false".to_owned()),
    }
}
