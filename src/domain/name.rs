//! A person's name, or what they want to be called.

use std::fmt;

use super::BrokenRule;

/// The longest name, in Unicode characters.
pub const MAX_CHARS: usize = 255;

/// 1 to 255 characters after trimming, none of them a control character.
#[derive(Clone, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// Trims and checks a name.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, BrokenRule> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(BrokenRule::new("required", "Must not be empty."));
        }
        if trimmed.chars().count() > MAX_CHARS {
            return Err(BrokenRule::new(
                "too_long",
                "Must have at most 255 characters.",
            ));
        }
        if trimmed.chars().any(char::is_control) {
            return Err(BrokenRule::new(
                "control_character",
                "Must not contain control characters.",
            ));
        }
        Ok(Self(trimmed.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, owned.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Name(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Option<&'static str> {
        Name::parse(text).err().map(|rule| rule.code)
    }

    #[test]
    fn names_are_trimmed_and_bounded_in_characters() {
        assert_eq!(Name::parse("  Ada \n").expect("valid").as_str(), "Ada");
        assert_eq!(code(&"ж".repeat(255)), None);
        assert_eq!(code(&"ж".repeat(256)), Some("too_long"));
        assert_eq!(code(" \t\n"), Some("required"));
        assert_eq!(code(""), Some("required"));
    }

    #[test]
    fn control_characters_inside_are_refused() {
        for text in ["a\0b", "a\nb", "a\u{85}b", "a\u{7f}b", "a\u{1b}[31mb"] {
            assert_eq!(code(text), Some("control_character"), "{text:?}");
        }
    }
}
