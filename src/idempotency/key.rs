//! Idempotency keys, by which a client identifies a request across retries.

use std::borrow::Cow;
use std::fmt;

use sfv::visitor::Ignored;
use sfv::{Parser, StringRef};

/// The longest key, in characters.
pub(super) const MAX_LENGTH: usize = 255;
/// The longest line, in bytes: a key whose characters are all escaped, and the same again for
/// parameters, which are parsed to the end and ignored.
pub(super) const MAX_LINE: usize = 1024;

/// A client's key. Its text is never stored or logged: a holder of the key can replay responses.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// Why a header is invalid. The text is for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// More than one line, or more than one key in a line.
    #[error("Send exactly one Idempotency-Key.")]
    Repeated,
    /// No characters.
    #[error("The Idempotency-Key is empty.")]
    Empty,
    /// Over 255 characters, or over 1024 bytes with its parameters.
    #[error("The Idempotency-Key is over 255 characters, or over 1024 bytes with its parameters.")]
    TooLong,
    /// Neither a quoted string nor bare visible ASCII.
    #[error("The Idempotency-Key must be visible ASCII, bare or a string in double quotes.")]
    Malformed,
}

impl IdempotencyKey {
    /// Parses the lines of the header, as received.
    ///
    /// A key is a string of structured fields (RFC 9651, section 3.3.3), whose parameters are
    /// ignored, though they must be valid, or the same text without its quotes, as many clients
    /// send it.
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
        // Before any work that depends on the length.
        if line.len() > MAX_LINE {
            return Err(InvalidKey::TooLong);
        }
        let line = std::str::from_utf8(line).map_err(|_| InvalidKey::Malformed)?;
        let line = line.trim_matches([' ', '\t']);
        if !line.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(InvalidKey::Malformed);
        }
        let key = if line.starts_with('"') {
            quoted(line)?
        } else {
            bare(line)?.into()
        };
        match key.len() {
            0 => Err(InvalidKey::Empty),
            1..=MAX_LENGTH => Ok(Some(Self(key.into_owned()))),
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
    // A proxy joins two lines with a comma.
    if line.contains(',') {
        return Err(InvalidKey::Repeated);
    }
    if line.contains(['"', ' ']) {
        return Err(InvalidKey::Malformed);
    }
    Ok(line)
}

fn quoted(line: &str) -> Result<Cow<'_, str>, InvalidKey> {
    match Parser::new(line).parse_item::<Cow<'_, StringRef>>() {
        Ok(Cow::Borrowed(key)) => Ok(key.as_str().into()),
        Ok(Cow::Owned(key)) => Ok(String::from(key).into()),
        // A proxy joins two lines with a comma.
        Err(_) if is_list(line) => Err(InvalidKey::Repeated),
        Err(_) => Err(InvalidKey::Malformed),
    }
}

fn is_list(line: &str) -> bool {
    Parser::new(line).parse_list_with_visitor(Ignored).is_ok()
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&str]) -> Result<Option<String>, InvalidKey> {
        IdempotencyKey::read(lines.iter().map(|line| line.as_bytes()))
            .map(|key| key.map(|key| key.expose().to_owned()))
    }

    #[test]
    fn quoted_and_bare_forms_are_the_same_key() {
        for (line, key) in [
            ("abc-123", "abc-123"),
            ("\"abc-123\"", "abc-123"),
            ("  \"abc-123\"  ", "abc-123"),
            ("\"k\";a=1", "k"),
            ("\"k\";a;b=\"c;d=\\\"\";  c-d_e.*;*f", "k"),
            (
                "\"k\";a=1;a=-999999999999999;a=1.25;a=-123456789012.125",
                "k",
            ),
            (
                "\"k\";a=tok/en:x;b=*;c=?0;d=?1;e=:aGFsbG8=:;f=@1659578233;g=::",
                "k",
            ),
            ("\"k\";a=%\"f%c3%bc\"", "k"),
            ("\"k;a\"", "k;a"),
            ("k;a=1", "k;a=1"),
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
    fn invalid_keys_are_refused() {
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
            ("\"k\";a=\"x", InvalidKey::Malformed),
            ("\"k\";", InvalidKey::Malformed),
            ("\"k\";;a", InvalidKey::Malformed),
            ("\"k\" ;a", InvalidKey::Malformed),
            ("\"k\";a ;b", InvalidKey::Malformed),
            ("\"k\";a=", InvalidKey::Malformed),
            ("\"k\";a =1", InvalidKey::Malformed),
            ("\"k\";a= 1", InvalidKey::Malformed),
            ("\"k\";A=1", InvalidKey::Malformed),
            ("\"k\";1=1", InvalidKey::Malformed),
            ("\"k\";a=1.", InvalidKey::Malformed),
            ("\"k\";a=.1", InvalidKey::Malformed),
            ("\"k\";a=1.1234", InvalidKey::Malformed),
            ("\"k\";a=1234567890123.1", InvalidKey::Malformed),
            ("\"k\";a=1234567890123456", InvalidKey::Malformed),
            ("\"k\";a=?2", InvalidKey::Malformed),
            ("\"k\";a=:a", InvalidKey::Malformed),
            ("\"k\";a=:!:", InvalidKey::Malformed),
            ("\"k\";a=@x", InvalidKey::Malformed),
            ("\"k\";a=%\"%c3\"", InvalidKey::Malformed),
            ("\"k\";a=(b)", InvalidKey::Malformed),
            ("\"k\";a=\"b\"c", InvalidKey::Malformed),
            ("\"k\"; \t a", InvalidKey::Malformed),
            ("\"k\"x;a", InvalidKey::Malformed),
            ("\"k\";a,", InvalidKey::Malformed),
            ("\"k\";a, \"k\"", InvalidKey::Repeated),
            ("\"k\";a=\"x, \"k\"", InvalidKey::Malformed),
            ("\"a\",\"b\";c=1", InvalidKey::Repeated),
        ] {
            assert_eq!(read(&[line]), Err(error), "{line}");
        }
        assert_eq!(read(&["a", "a"]), Err(InvalidKey::Repeated));
        assert_eq!(read(&[&"k".repeat(255)]), Ok(Some("k".repeat(255))));
    }

    #[test]
    fn a_key_may_be_all_escapes_and_its_parameters_are_bounded() {
        let escaped = format!("\"{}\"", "\\\"".repeat(255));
        assert_eq!(read(&[&escaped]), Ok(Some("\"".repeat(255))));
        let fits = format!("\"k\"{}", ";a=1".repeat(255));
        assert_eq!(read(&[&fits]), Ok(Some("k".to_owned())));
        let long = format!("\"k\"{}", ";a=1".repeat(256));
        assert_eq!(read(&[&long]), Err(InvalidKey::TooLong));
    }

    proptest! {
        #[test]
        fn a_quoted_key_is_the_bare_one(key in "[!#-+\\--~]{1,255}") {
            let escaped = key.replace('\\', "\\\\");
            let bare = read(&[&key]);
            prop_assert_eq!(&bare, &Ok(Some(key)));
            prop_assert_eq!(read(&[&format!("\"{escaped}\"")]), bare.clone());
            prop_assert_eq!(read(&[&format!("\"{escaped}\";p=1; q")]), bare);
        }

        #[test]
        fn no_accepted_key_exceeds_the_limits(line in "[ -~]{0,40}|\"[ -~]{0,40}|\"k\"[;= a-z0-9\"\\\\:?@%.]{0,12}") {
            if let Ok(Some(key)) = read(&[&line]) {
                prop_assert!((1..=MAX_LENGTH).contains(&key.len()));
                prop_assert!(key.bytes().all(|byte| matches!(byte, b' '..=b'~')));
            }
        }
    }
}
