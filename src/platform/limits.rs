//! Limits: what is bounded, and by how much.
//!
//! A module that keeps a bound lists it in a `LIMITS` of its own, beside the constant, and
//! `cli/reference/limits.rs` collects them: so the reference page has the values that hold.

use std::fmt;
use std::time::Duration;

/// One bound of the service.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// What is bounded, such as "Head of a request".
    pub what: &'static str,
    /// By how much.
    pub bound: Bound,
    /// What happens at the bound.
    pub effect: &'static str,
}

/// The value of a [`Limit`].
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// A duration.
    Time(Duration),
    /// A number of things.
    Count(usize),
    /// A number of bytes.
    Bytes(usize),
    /// The value of the setting with this environment variable.
    Setting(&'static str),
    /// A part of another value, in words.
    Words(&'static str),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Time(time) if time.subsec_millis() > 0 => write!(f, "{} ms", time.as_millis()),
            Self::Time(time) => write!(f, "{} s", time.as_secs()),
            Self::Count(count) => f.write_str(&grouped(count)),
            Self::Bytes(bytes) if bytes.is_multiple_of(1024 * 1024) => {
                write!(f, "{} MiB", bytes / (1024 * 1024))
            }
            Self::Bytes(bytes) if bytes.is_multiple_of(1024) => write!(f, "{} KiB", bytes / 1024),
            Self::Bytes(bytes) => write!(f, "{} bytes", grouped(bytes)),
            Self::Setting(name) => write!(f, "`{name}`"),
            Self::Words(words) => f.write_str(words),
        }
    }
}

/// A number with a comma behind each thousand.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_written_in_the_unit_that_fits() {
        for (bound, text) in [
            (Bound::Time(Duration::from_millis(1_500)), "1500 ms"),
            (Bound::Time(Duration::from_mins(1)), "60 s"),
            (Bound::Count(96), "96"),
            (Bound::Count(10_000), "10,000"),
            (Bound::Count(1_234_567), "1,234,567"),
            (Bound::Bytes(4 * 1024 * 1024), "4 MiB"),
            (Bound::Bytes(16 * 1024), "16 KiB"),
            (Bound::Bytes(1_025), "1,025 bytes"),
            (Bound::Setting("PORT"), "`PORT`"),
        ] {
            assert_eq!(bound.to_string(), text);
        }
    }
}
