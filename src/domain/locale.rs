//! The language of a user.

use language_tags::LanguageTag;

use super::BrokenRule;

/// The longest tag, in bytes: RFC 5646, section 4.4.1.
pub const MAX_BYTES: usize = 35;

/// The registered tags of old that begin with a language and are not of the grammar of others: RFC 5646,
/// section 2.1, `irregular`. There will be no more.
const IRREGULAR: [&str; 4] = ["en-GB-oed", "sgn-BE-FR", "sgn-BE-NL", "sgn-CH-DE"];

/// A language with perhaps a script, a region and more, such as `de-AT`: a well-formed tag of RFC 5646 in
/// its canonical case, of at most 35 bytes, that begins with a language. Whether its subtags are
/// registered is not checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Locale(String);

impl Locale {
    /// Checks a tag; case does not matter.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, BrokenRule> {
        const INVALID: BrokenRule = BrokenRule::new(
            "invalid_locale",
            "Must be a language tag of RFC 5646 with at most 35 characters, such as de-AT.",
        );
        if text.len() > MAX_BYTES {
            return Err(INVALID);
        }
        let tag = LanguageTag::parse(text).map_err(|_| INVALID)?;
        // Private use alone, and old tags such as `i-klingon`.
        let begins_with_language = tag.as_str().as_bytes().get(1) != Some(&b'-');
        if !begins_with_language || IRREGULAR.contains(&tag.as_str()) {
            return Err(INVALID);
        }
        Ok(Self(tag.into_string()))
    }

    /// The language in a row: a text that is no tag names none.
    #[must_use]
    pub fn of_row(tag: Option<String>) -> Option<Self> {
        tag.and_then(|tag| Self::parse(&tag).ok())
    }

    /// What it adds to the values that identify a command. Nothing if there is no language: it is the last one, so a key
    /// that was used before there were languages stays valid. A second value of this kind needs its name beside it.
    pub fn values(locale: Option<&Self>) -> impl Iterator<Item = Option<&[u8]>> {
        locale.map(|locale| Some(locale.0.as_bytes())).into_iter()
    }

    /// The tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag, and shorter ones that take its place if there is nothing for it, the best first: RFC 4647,
    /// section 3.4. A subtag of one character only begins others, so none is left at the end.
    pub fn lookup(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self.as_str()), |tag| {
            let (mut rest, _) = tag.rsplit_once('-')?;
            while let Some((before, last)) = rest.rsplit_once('-')
                && last.len() == 1
            {
                rest = before;
            }
            Some(rest)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_are_well_formed_and_in_their_canonical_case() {
        for (text, canonical) in [
            ("de", "de"),
            ("DE-at", "de-AT"),
            ("zh-hant-TW", "zh-Hant-TW"),
            ("es-419", "es-419"),
            ("de-DE-u-co-phonebk", "de-DE-u-co-phonebk"),
        ] {
            let locale = Locale::parse(text).expect(text);
            assert_eq!(locale.as_str(), canonical);
            assert_eq!(Locale::parse(canonical), Ok(locale), "{text}");
        }
        for text in [
            "",
            "d",
            "de_AT",
            "de-",
            "-de",
            "de AT",
            "de-AT\n",
            "dé",
            "x-private",
            "i-klingon",
            "en-gb-oed",
            "sgn-BE-FR",
            "*",
        ] {
            let rule = Locale::parse(text).expect_err(text);
            assert_eq!(rule.code, "invalid_locale", "{text}");
        }
        let longest = "de-x-".to_owned() + "abcdefgh-abcdefgh-abcdefgh-abc";
        assert_eq!(longest.len(), MAX_BYTES);
        assert!(Locale::parse(&longest).is_ok());
        assert!(Locale::parse(&(longest + "d")).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_kept(text in "([a-zA-Z0-9é*_-]{0,9}-?){0,6}") {
            if let Ok(locale) = Locale::parse(&text) {
                prop_assert!(locale.as_str().eq_ignore_ascii_case(&text));
                prop_assert_eq!(Locale::parse(locale.as_str()), Ok(locale.clone()));
                let all: Vec<_> = locale.lookup().collect();
                prop_assert!(all.len() <= MAX_BYTES / 2 + 1);
                let shorter = all.windows(2).all(|of| of[1].len() < of[0].len() && of[0].starts_with(of[1]));
                prop_assert!(shorter, "{all:?}");
            }
        }
    }

    #[test]
    fn a_shorter_tag_takes_the_place_of_a_longer_one() {
        let lookup = |text: &str| {
            let locale = Locale::parse(text).expect(text);
            locale.lookup().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(lookup("de"), ["de"]);
        assert_eq!(lookup("de-x-a-b"), ["de-x-a-b", "de"]);
        assert_eq!(
            lookup("zh-Hant-CN-x-private1-private2"),
            [
                "zh-Hant-CN-x-private1-private2",
                "zh-Hant-CN-x-private1",
                "zh-Hant-CN",
                "zh-Hant",
                "zh"
            ]
        );
    }
}
