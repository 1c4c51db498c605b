//! Parsers shared by settings of several groups.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;

/// The shortest secret, in bytes.
pub const MIN_SECRET_BYTES: usize = 32;

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

/// A secret of enough bytes to be unguessable.
pub fn long_secret(text: &str) -> Result<SecretString, String> {
    if text.len() < MIN_SECRET_BYTES {
        return Err(format!("must have at least {MIN_SECRET_BYTES} bytes"));
    }
    Ok(SecretString::from(text))
}

/// Seconds within these bounds.
pub fn seconds(text: &str, bounds: (u64, u64)) -> Result<Duration, String> {
    number(text, bounds).map(Duration::from_secs)
}
