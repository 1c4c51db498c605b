//! A password that may be used, and what is kept of it.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use super::BrokenRule;

/// The shortest password, in Unicode characters (NIST SP 800-63B, section 5.1.1).
pub const MIN_CHARS: usize = 8;
/// The longest password, in bytes of UTF-8. All of them count.
pub const MAX_BYTES: usize = 1024;

/// A password that keeps the rules. It is wiped from memory when dropped and never printed.
#[derive(Clone)]
pub struct Password(SecretString);

impl Password {
    /// Checks a password.
    ///
    /// `about_the_user` is what an attacker would try first: the user's own names and address.
    /// The password is taken as it is: it is not trimmed, cut or normalised.
    ///
    /// # Errors
    /// The rule that the password breaks.
    pub fn parse(secret: SecretString, about_the_user: &[&str]) -> Result<Self, BrokenRule> {
        let text = secret.expose_secret();
        if text.len() > MAX_BYTES {
            return Err(BrokenRule::new(
                "too_long",
                "Must have at most 1024 bytes of UTF-8.",
            ));
        }
        if text.chars().count() < MIN_CHARS {
            return Err(BrokenRule::new(
                "too_short",
                "Must have at least 8 characters.",
            ));
        }
        if text.contains('\0') {
            return Err(BrokenRule::new(
                "nul_character",
                "Must not contain the NUL character.",
            ));
        }
        let lower = text.to_lowercase();
        if about_the_user
            .iter()
            .any(|known| known.trim().to_lowercase() == lower.trim())
        {
            return Err(BrokenRule::new(
                "own_name_or_address",
                "Must not be the user's own name or address.",
            ));
        }
        if zxcvbn::zxcvbn(text, about_the_user).score() == zxcvbn::Score::Zero {
            return Err(BrokenRule::new(
                "too_guessable",
                "Is among the first that an attacker would try; choose a less common one.",
            ));
        }
        Ok(Self(secret))
    }

    /// The bytes to hash. Do not keep them.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// A password hash in the modular crypt format, salt and cost included.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Takes what a hasher made.
    #[must_use]
    pub const fn new(formatted: String) -> Self {
        Self(formatted)
    }

    /// The text to store.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str, about: &[&str]) -> Option<&'static str> {
        Password::parse(SecretString::from(text), about)
            .err()
            .map(|rule| rule.code)
    }

    #[test]
    fn length_counts_characters_below_and_bytes_above() {
        assert_eq!(code("kX9#vQ2", &[]), Some("too_short"));
        assert_eq!(code("kX9#vQ2z", &[]), None);
        assert_eq!(code("šůžýáí9", &[]), Some("too_short"));
        assert_eq!(code("🦀🐢🌵🎈🚲🧊🪁🗿", &[]), None);
        let long: String = ('!'..='~').cycle().take(1024).collect();
        assert_eq!(code(&long, &[]), None);
        assert_eq!(code(&format!("{long}x"), &[]), Some("too_long"));
    }

    #[test]
    fn nul_is_refused_anywhere() {
        assert_eq!(code("kX9#vQ2z\0abc", &[]), Some("nul_character"));
    }

    #[test]
    fn guessable_passwords_are_refused() {
        for text in ["password", "12345678", "aaaaaaaa", "qwertyuiop"] {
            assert_eq!(code(text, &[]), Some("too_guessable"), "{text}");
        }
        assert_eq!(code("correct horse battery staple", &[]), None);
    }

    #[test]
    fn the_users_own_words_are_refused() {
        let about = ["Ada Lovelace", "ada@example.org"];
        assert_eq!(code("ada LOVELACE", &about), Some("own_name_or_address"));
        assert_eq!(code("ada@example.org", &about), Some("own_name_or_address"));
        assert_eq!(
            code(" ada@example.org ", &about),
            Some("own_name_or_address")
        );
    }

    #[test]
    fn debug_shows_nothing() {
        let password = Password::parse(SecretString::from("kX9#vQ2z!"), &[]).expect("valid");
        assert_eq!(format!("{password:?}"), "Password(..)");
        let hash = PasswordHash::new("$2b$secret".to_owned());
        assert_eq!(format!("{hash:?}"), "PasswordHash(..)");
    }
}
