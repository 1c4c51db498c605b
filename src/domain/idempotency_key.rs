//! The key by which a client names one signup, however often it is sent.

use std::fmt;

/// The longest key, in characters.
const MAX_LENGTH: usize = 255;

/// A key of the client's. Its text is never stored or logged: whoever has it can replay answers.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// Why a header is no key. The text is for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// More than one line, or more than one key in a line.
    #[error("Send one Idempotency-Key, once.")]
    Repeated,
    /// No character.
    #[error("The Idempotency-Key is empty.")]
    Empty,
    /// Over 255 characters.
    #[error("The Idempotency-Key is over 255 characters.")]
    TooLong,
    /// Neither a quoted string nor bare visible ASCII.
    #[error("The Idempotency-Key must be visible ASCII, bare or in double quotes.")]
    Malformed,
}

impl IdempotencyKey {
    /// Reads the lines of the header, as they came.
    ///
    /// A key is a string of structured fields (RFC 9651, section 3.3.3), whose parameters are
    /// ignored, or the same text without its quotes, as many clients send it.
    ///
    /// # Errors
    /// See [`InvalidKey`].
    pub fn read<'a>(mut lines: impl Iterator<Item = &'a [u8]>) -> Result<Option<Self>, InvalidKey> {
        let Some(line) = lines.next() else {
            return Ok(None);
        };
        if lines.next().is_some() {
            return Err(InvalidKey::Repeated);
        }
        let line = std::str::from_utf8(line).map_err(|_| InvalidKey::Malformed)?;
        let line = line.trim_matches([' ', '\t']);
        if !line.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(InvalidKey::Malformed);
        }
        let key = match line.strip_prefix('"') {
            Some(rest) => quoted(rest)?,
            None => bare(line)?.to_owned(),
        };
        match key.len() {
            0 => Err(InvalidKey::Empty),
            1..=MAX_LENGTH => Ok(Some(Self(key))),
            _ => Err(InvalidKey::TooLong),
        }
    }

    /// The text, to be hashed.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

fn bare(line: &str) -> Result<&str, InvalidKey> {
    // A proxy joins two lines by a comma.
    if line.contains(',') {
        return Err(InvalidKey::Repeated);
    }
    if line.contains(['"', ' ']) {
        return Err(InvalidKey::Malformed);
    }
    Ok(line)
}

/// Reads what stands behind the opening quote.
fn quoted(rest: &str) -> Result<String, InvalidKey> {
    let mut key = String::new();
    let mut characters = rest.chars();
    loop {
        match characters.next().ok_or(InvalidKey::Malformed)? {
            '"' => break,
            '\\' => match characters.next() {
                Some(escaped @ ('"' | '\\')) => key.push(escaped),
                _ => return Err(InvalidKey::Malformed),
            },
            character => key.push(character),
        }
    }
    let behind = characters.as_str().trim_start_matches([' ', '\t']);
    match behind.chars().next() {
        None | Some(';') => Ok(key),
        Some(',') => Err(InvalidKey::Repeated),
        Some(_) => Err(InvalidKey::Malformed),
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Result<Option<String>, InvalidKey> {
        IdempotencyKey::read(lines.iter().map(|line| line.as_bytes()))
            .map(|key| key.map(|key| key.expose().to_owned()))
    }

    #[test]
    fn quoted_and_bare_are_one_key() {
        for (line, key) in [
            ("abc-123", "abc-123"),
            ("\"abc-123\"", "abc-123"),
            ("  \"abc-123\"  ", "abc-123"),
            ("\"k\";a=1", "k"),
            ("\"k\" ;a;b=\"c\"", "k"),
            ("\"a b, c\"", "a b, c"),
            (r#""a\"b\\c""#, r#"a"b\c"#),
            (
                "8e03978e-40d5-43dd-bc93-6894a57f9324",
                "8e03978e-40d5-43dd-bc93-6894a57f9324",
            ),
        ] {
            assert_eq!(read(&[line]), Ok(Some(key.to_owned())), "{line}");
        }
        assert_eq!(read(&[]), Ok(None));
        assert_ne!(read(&["K"]), read(&["k"]), "case counts");
    }

    #[test]
    fn what_is_no_key() {
        let long = "k".repeat(256);
        let quoted = format!("\"{long}\"");
        for (line, error) in [
            ("", InvalidKey::Empty),
            ("\"\"", InvalidKey::Empty),
            ("  ", InvalidKey::Empty),
            (&long, InvalidKey::TooLong),
            (&quoted, InvalidKey::TooLong),
            ("a,b", InvalidKey::Repeated),
            ("\"a\", \"b\"", InvalidKey::Repeated),
            ("ä", InvalidKey::Malformed),
            ("a\u{7f}", InvalidKey::Malformed),
            ("a\tb", InvalidKey::Malformed),
            ("a b", InvalidKey::Malformed),
            ("\"a", InvalidKey::Malformed),
            ("a\"", InvalidKey::Malformed),
            ("\"a\"b", InvalidKey::Malformed),
            (r#""a\n""#, InvalidKey::Malformed),
        ] {
            assert_eq!(read(&[line]), Err(error), "{line}");
        }
        assert_eq!(read(&["a", "a"]), Err(InvalidKey::Repeated));
        assert_eq!(read(&[&"k".repeat(255)]), Ok(Some("k".repeat(255))));
    }
}
