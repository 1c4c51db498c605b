//! A password that may be used, and what is kept of it.

use std::fmt;

use secrecy::zeroize::Zeroizing;
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
        let password = Self::parse_unguessed(secret, about_the_user)?;
        if is_guessable(password.0.expose_secret(), about_the_user) {
            return Err(BrokenRule::new(
                "too_guessable",
                "Is among the first that an attacker would try; choose a less common one.",
            ));
        }
        Ok(password)
    }

    /// Checks all rules but the one that takes long: whether it is guessable. For a request that
    /// comes to nothing in any case; such a password must not be stored.
    ///
    /// # Errors
    /// The rule that the password breaks.
    pub fn parse_unguessed(
        secret: SecretString,
        about_the_user: &[&str],
    ) -> Result<Self, BrokenRule> {
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
        let reversed: Zeroizing<String> = Zeroizing::new(text.chars().rev().collect());
        if about_the_user
            .iter()
            .any(|known| bare(known).eq(bare(text)) || bare(known).eq(bare(&reversed)))
        {
            return Err(BrokenRule::new(
                "own_name_or_address",
                "Must not be the user's own name or address.",
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

/// A text without what makes no difference to a guess: white space, upper case, and signs that
/// stand for letters.
fn bare(text: &str) -> impl Iterator<Item = char> {
    text.chars()
        .filter(|character| !character.is_whitespace())
        .flat_map(char::to_lowercase)
        .map(|character| match character {
            '4' | '@' => 'a',
            '3' => 'e',
            '1' | '!' | '|' | 'l' => 'i',
            '0' => 'o',
            '5' | '$' => 's',
            '7' | '+' => 't',
            other => other,
        })
}

/// Whether fewer than 1,000 guesses find the password: the lowest score of `zxcvbn`.
///
/// On a chosen text of 100 characters, all that it looks at, zxcvbn takes up to half a second,
/// and this runs where requests are served. So it is asked about less, a few milliseconds at
/// most. A repetition is as hard as what repeats, times how often. Anything else is no easier
/// than its hardest part, is asked about as a whole where every part is easy, and beyond
/// three parts is never among the easiest. A test compares the verdicts.
fn is_guessable(text: &str, about_the_user: &[&str]) -> bool {
    const LOOKED_AT: usize = 100;
    const PART: usize = 16;
    const EASY: u64 = 1_000;
    let characters: Zeroizing<Vec<char>> = Zeroizing::new(text.chars().take(LOOKED_AT).collect());
    let unit = repeated_unit(&characters);
    let times = u64::try_from(characters.len() / unit.len().max(1)).unwrap_or(1);
    let is_easy = |part: &[char]| {
        let part = Zeroizing::new(String::from_iter(part));
        let guesses = zxcvbn::zxcvbn(&part, about_the_user).guesses();
        guesses.saturating_mul(times) < EASY
    };
    unit.len() <= 3 * PART && unit.chunks(PART).all(is_easy) && is_easy(unit)
}

/// The shortest beginning that the whole text repeats; else all of it.
fn repeated_unit(text: &[char]) -> &[char] {
    (1..=text.len() / 2)
        .filter(|length| text.len().is_multiple_of(*length))
        .map(|length| &text[..length])
        .find(|unit| text.chunks(unit.len()).all(|chunk| chunk == *unit))
        .unwrap_or(text)
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

    #[test]
    fn what_zxcvbn_scores_lowest_is_refused_and_nothing_else() {
        let words = [
            "a",
            "ab",
            "password",
            "1234567890",
            "123456789",
            "qwerty",
            "correct horse",
            "drowssap",
            "p4ssw0rd",
            "abcdefghijklmnopqrstuvwxyz",
            "letmein",
            "iloveyou",
            "kX9#vQ2zP!",
            "\u{1f600}",
        ];
        let mut texts: Vec<String> = Vec::new();
        for word in words {
            texts.extend([1, 2, 3, 5, 8, 12, 40, 200].map(|times| word.repeat(times)));
            texts.extend(words.map(|other| format!("{word}{other}")));
            texts.push("a".repeat(16) + word);
        }
        let mut lowest = 0;
        for text in texts.iter().filter(|text| text.len() >= 8) {
            let is_lowest = zxcvbn::zxcvbn(text, &[]).score() == zxcvbn::Score::Zero;
            assert_eq!(is_guessable(text, &[]), is_lowest, "{text}");
            lowest += u32::from(is_lowest);
        }
        assert!(lowest > 20, "{lowest} of {}", texts.len());
    }

    #[test]
    fn no_chosen_text_takes_long() {
        // The whole of this takes zxcvbn half a second.
        let chosen = "4@8({[<69&#!1/|0$57%2".repeat(48);
        let all_easy = ["4@", "({", "0$"].map(|pair| pair.repeat(8));
        for text in [chosen, all_easy.concat()] {
            let begun = std::time::Instant::now();
            let _ = code(&text, &[]);
            assert!(begun.elapsed().as_millis() < 300, "{:?}", begun.elapsed());
        }
    }

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
        for disguised in [
            "adalovelace",
            "4d4 L0v3l@c3",
            "ecalevoL adA",
            "gro.elpmaxe@ada",
        ] {
            assert_eq!(
                code(disguised, &about),
                Some("own_name_or_address"),
                "{disguised}"
            );
        }
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
