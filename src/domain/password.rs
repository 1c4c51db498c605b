//! Passwords: the rules for new ones, those presented at a login, and their hashes.

use std::fmt;

use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

use super::{BrokenRule, common};

/// The shortest password, in Unicode characters (NIST SP 800-63B, section 5.1.1).
pub const MIN_CHARS: usize = 8;
/// The longest password, in bytes of UTF-8. All of them count.
pub const MAX_BYTES: usize = 1024;

const TOO_LONG: BrokenRule = BrokenRule::new("too_long", "Must have at most 1024 bytes of UTF-8.");
const NUL_CHARACTER: BrokenRule =
    BrokenRule::new("nul_character", "Must not contain the NUL character.");

/// Words that an attacker would also try first: the name of the service.
const SERVICE: [&str; 3] = ["signup-service", "signup", "service"];

/// No valid name or address is longer, in characters. Only this much of one is examined.
const LONGEST: usize = 256;
/// The shortest part of a name or an address that counts as a word, in characters.
const MIN_WORD: usize = 3;
/// At most this many words are examined. No valid name has more.
const MAX_WORDS: usize = 32;
/// A password is made of the user's own words if at most this many other characters are left.
const LEFT_OVER: usize = 3;

/// Refuses a password that has fewer characters than a service asks for.
///
/// # Errors
/// The rule, with the number.
pub fn at_least(password: &[u8], characters: usize) -> Result<(), BrokenRule> {
    let found = String::from_utf8_lossy(password).chars().count();
    if found >= characters {
        return Ok(());
    }
    Err(BrokenRule {
        code: "too_short",
        detail: format!("Must have at least {characters} characters.").into(),
    })
}

/// A password that satisfies all rules that are cheap to check. Whether it is guessable takes
/// longer to find out: see [`Candidate::estimate`].
///
/// Like [`Password`] it is wiped from memory when dropped. It has no `Debug`, as `words` are the
/// user's.
pub struct Candidate {
    secret: SecretString,
    /// Words that `zxcvbn` treats as the most common ones; `None` if no rule applies.
    words: Option<Vec<String>>,
}

impl Candidate {
    /// Checks all rules except the expensive one. It takes less than 0.2 ms for any text.
    ///
    /// `about_the_user` is what an attacker would try first: the user's own names and address.
    /// The password is used as sent: it is not trimmed, cut or normalised.
    ///
    /// # Errors
    /// The rule that the password breaks.
    pub fn parse(secret: SecretString, about_the_user: &[&str]) -> Result<Self, BrokenRule> {
        let text = secret.expose_secret();
        if text.len() > MAX_BYTES {
            return Err(TOO_LONG);
        }
        if text.chars().count() < MIN_CHARS {
            return Err(BrokenRule::new(
                "too_short",
                "Must have at least 8 characters.",
            ));
        }
        if text.contains('\0') {
            return Err(NUL_CHARACTER);
        }
        let parts = parts(about_the_user);
        let reversed: Zeroizing<String> = Zeroizing::new(text.chars().rev().collect());
        if about_the_user
            .iter()
            .any(|known| bare(known).eq(bare(text)) || bare(known).eq(bare(&reversed)))
            || is_made_of(text, &parts)
        {
            return Err(BrokenRule::new(
                "own_name_or_address",
                "Must not be the user's own name or address, or made of their parts.",
            ));
        }
        if common::is_common(text) {
            return Err(BrokenRule::new(
                "common",
                "Is a commonly used password; choose a less common one.",
            ));
        }
        let whole = about_the_user.iter().copied();
        let words = whole.chain(SERVICE).chain(parts.iter().map(String::as_str));
        let words = words.map(str::to_owned).collect();
        Ok(Self {
            secret,
            words: Some(words),
        })
    }

    /// A password that was verified as an account's. The rules for new passwords do not apply to it.
    #[must_use]
    pub fn verified(password: PresentedPassword) -> Self {
        Self {
            secret: password.0,
            words: None,
        }
    }

    /// Whether it is a new password, to which the rules for these apply.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.words.is_some()
    }

    /// Checks the last rule: that more than a thousand guesses are needed. This takes up to some
    /// milliseconds of CPU, which the sender of the password controls: do not call it on a server
    /// thread.
    ///
    /// # Errors
    /// When the password is guessable.
    pub fn estimate(self) -> Result<Password, BrokenRule> {
        let Some(words) = self.words else {
            return Ok(Password(self.secret));
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if is_guessable(self.secret.expose_secret(), &words) {
            return Err(BrokenRule::new(
                "too_guessable",
                "Is too easy to guess; choose a less common one.",
            ));
        }
        Ok(Password(self.secret))
    }

    /// The bytes of the password. Do not keep them.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        self.secret.expose_secret().as_bytes()
    }
}

/// A password that satisfies all rules, or is an account's already. It is wiped from memory when dropped and never printed.
#[derive(Clone)]
pub struct Password(SecretString);

impl Password {
    /// Checks all rules at once: [`Candidate::parse`], then [`Candidate::estimate`].
    ///
    /// # Errors
    /// The rule that the password breaks.
    pub fn parse(secret: SecretString, about_the_user: &[&str]) -> Result<Self, BrokenRule> {
        Candidate::parse(secret, about_the_user)?.estimate()
    }

    /// The bytes to hash. Do not keep them.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

/// A password that a client presents to prove who it is. It is wiped from memory when dropped and
/// never printed.
///
/// The rules for new passwords do not apply: what is stored may be older than they are, or imported.
/// So a refusal says nothing about the account.
#[derive(Clone)]
pub struct PresentedPassword(SecretString);

impl PresentedPassword {
    /// Refuses only what is no account's password. The rest is used as sent: it is not trimmed, cut
    /// or normalised.
    ///
    /// # Errors
    /// When it is empty, has more than [`MAX_BYTES`], or contains NUL.
    pub fn parse(secret: SecretString) -> Result<Self, BrokenRule> {
        let text = secret.expose_secret();
        if text.is_empty() {
            return Err(BrokenRule::new("required", "Must not be empty."));
        }
        if text.len() > MAX_BYTES {
            return Err(TOO_LONG);
        }
        if text.contains('\0') {
            return Err(NUL_CHARACTER);
        }
        Ok(Self(secret))
    }

    /// The bytes to verify. Do not keep them.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

impl fmt::Debug for PresentedPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedPassword(..)")
    }
}

/// The distinct words of names and addresses, longest first.
fn parts(texts: &[&str]) -> Vec<String> {
    let words = texts
        .iter()
        .map(|text| beginning(text))
        .flat_map(|text| text.split(|character: char| !character.is_alphanumeric()));
    let mut parts: Vec<String> = words
        .filter(|word| word.chars().nth(MIN_WORD - 1).is_some())
        .map(|word| bare(word).collect())
        .collect();
    parts.sort_by(|one, other| (other.len(), other).cmp(&(one.len(), one)));
    parts.dedup();
    parts.truncate(MAX_WORDS);
    parts
}

/// The part of a name or an address that is examined.
fn beginning(text: &str) -> &str {
    let end = text.char_indices().nth(LONGEST);
    end.map_or(text, |(at, _)| &text[..at])
}

/// Whether nearly all of a password consists of these words, in any order.
fn is_made_of(text: &str, words: &[String]) -> bool {
    let text: Zeroizing<String> = Zeroizing::new(bare(text).collect());
    let (mut rest, mut left_over, mut has_word) = (text.as_str(), 0, false);
    while left_over <= LEFT_OVER {
        let word = words.iter().find_map(|word| rest.strip_prefix(&**word));
        let mut characters = rest.chars();
        if let Some(behind) = word {
            (rest, has_word) = (behind, true);
        } else if characters.next().is_some() {
            left_over += 1;
            rest = characters.as_str();
        } else {
            return has_word;
        }
    }
    false
}

/// A text without differences that do not matter to a guess: white space, upper case, and signs
/// that stand for letters.
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
/// On a text of 100 characters, the most it examines, zxcvbn can take up to half a second. So it is
/// called on less, for a few milliseconds at most. A repetition is as hard as its unit, times the
/// number of repeats. Any other text is no easier than its hardest part, is estimated as a whole if
/// every part is easy, and is never guessable beyond three parts. A test compares the verdicts.
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

/// The shortest prefix that repeats to the whole text; else the text itself.
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
    /// Wraps the output of a hasher.
    #[must_use]
    pub const fn new(formatted: String) -> Self {
        Self(formatted)
    }

    /// The hash of no password: an account that has it cannot log in with one.
    #[must_use]
    pub fn none() -> Self {
        Self("!".to_owned())
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
    fn exactly_the_lowest_zxcvbn_score_is_refused() {
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
    fn no_crafted_text_takes_long() {
        // zxcvbn takes half a second on the whole of this.
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
        for text in ["aaaaaaaa", "zzzzzzzzzzzz", "121212121212", "signup-service"] {
            assert_eq!(code(text, &[]), Some("too_guessable"), "{text}");
        }
        assert_eq!(code("correct horse battery staple", &[]), None);
    }

    #[test]
    fn common_passwords_are_refused_in_any_case_of_their_letters() {
        for text in [
            "password",
            "12345678",
            "qwertyuiop",
            "DrPepper",
            "SHERLOCK",
            "12345678910",
            "Password123",
            "Passw0rd",
            "admin123",
        ] {
            assert_eq!(code(text, &[]), Some("common"), "{text}");
        }
        // The example of the contract's source.
        let about = ["Test User", "test@example.com"];
        assert_eq!(code("Test123!", &about), None);
    }

    #[test]
    fn a_password_made_of_the_users_own_words_is_refused() {
        let about = ["Bob Smith", "bob.smith@mail.example.org"];
        for text in [
            "smithbob",
            "bob.smith1",
            "SMITH_b0b!!",
            "bob smith example",
            "smithsmith",
            "5m1th.example",
        ] {
            assert_eq!(code(text, &about), Some("own_name_or_address"), "{text}");
        }
        for text in ["smith1987", "bob likes mangos", "smithereens", "sbmoibth"] {
            assert_eq!(code(text, &about), None, "{text}");
        }
        // Too short to be words: any text could be made of them.
        let initials = ["A B", "a@b.cd"];
        assert_eq!(code("a.b.cd.ab", &initials), None);
        // White space is not a word.
        assert_eq!(code("  x     y", &about), None);
    }

    /// All rules but the estimate are checked on server threads.
    #[test]
    fn the_cheap_rules_take_no_time_that_a_client_controls() {
        let name = (0..).map(|number| format!("w{number:03} "));
        let name: String = name.take(4_000).collect();
        let worst = [
            ("aaab".repeat(256), vec!["aaab".repeat(63)]),
            ("w000".repeat(256), vec![name]),
            (
                "a".repeat(1024),
                [254, 255, 16_000].map(|length| "a".repeat(length)).to_vec(),
            ),
        ];
        for (text, about) in worst {
            let about: Vec<&str> = about.iter().map(String::as_str).collect();
            let parts = parts(&about);
            assert!(parts.len() <= MAX_WORDS);
            assert!(parts.iter().all(|part| part.chars().count() <= LONGEST));
            let fastest = (0..20).map(|_| {
                let secret = SecretString::from(text.as_str());
                let begun = std::time::Instant::now();
                let _ = Candidate::parse(secret, &about);
                begun.elapsed()
            });
            let fastest = fastest.min().unwrap_or_default();
            assert!(fastest.as_millis() < 10, "{fastest:?} without optimisation");
        }
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

    #[test]
    fn what_can_never_be_a_password_is_refused_at_a_login() {
        let code = |text: &str| {
            let parsed = PresentedPassword::parse(SecretString::from(text));
            parsed.err().map(|rule| rule.code)
        };
        assert_eq!(code(""), Some("required"));
        assert_eq!(code(&"x".repeat(1025)), Some("too_long"));
        assert_eq!(code(&"ž".repeat(513)), Some("too_long"));
        for text in ["\0", "kX9#vQ2z\0abc"] {
            assert_eq!(code(text), Some("nul_character"));
        }
    }

    #[test]
    fn no_rule_for_new_passwords_applies_at_a_login() {
        let longest = "x".repeat(1024);
        for text in ["x", " ", "12345678", "password", "zzzzzzzzzzzz", &longest] {
            let password = PresentedPassword::parse(SecretString::from(text)).expect("accepted");
            assert_eq!(password.expose_bytes(), text.as_bytes(), "as sent");
            assert_eq!(format!("{password:?}"), "PresentedPassword(..)");
            let verified = Candidate::verified(password).estimate();
            assert_eq!(verified.expect("accepted").expose_bytes(), text.as_bytes());
        }
    }
}
