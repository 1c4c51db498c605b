//! A person's name or display name.

use std::fmt;

use super::BrokenRule;
use super::unicode;

/// The longest name, in Unicode characters.
pub const MAX_CHARS: usize = 255;

/// A name: 1 to 255 characters after trimming, at least one of them visible. Control characters,
/// line breaks and bidirectional controls are refused; invisible characters are allowed only where
/// emoji and scripts need them. So two names that look alike do not differ in hidden characters.
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
        let characters: Vec<char> = trimmed.chars().take(MAX_CHARS + 1).collect();
        if characters.len() > MAX_CHARS {
            return Err(BrokenRule::new(
                "too_long",
                "Must have at most 255 characters.",
            ));
        }
        check(&characters)?;
        Ok(Self(trimmed.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(characters: &[char]) -> Result<(), BrokenRule> {
    let breaks_a_line = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    if characters.iter().copied().any(breaks_a_line) {
        return Err(BrokenRule::new(
            "control_character",
            "Must not contain control characters or line breaks.",
        ));
    }
    if characters.iter().copied().any(unicode::is_bidi_control) {
        return Err(BrokenRule::new(
            "bidirectional_control",
            "Must not contain characters that change the direction of the text.",
        ));
    }
    if !characters.iter().copied().any(unicode::shows) {
        return Err(BrokenRule::new(
            "nothing_visible",
            "Must contain a visible character.",
        ));
    }
    let is_unneeded = |(at, character): (usize, &char)| {
        unicode::is_hidden(*character)
            && !unicode::is_needed(*character, &characters[..at], &characters[at + 1..])
    };
    if characters.iter().enumerate().any(is_unneeded) {
        return Err(BrokenRule::new(
            "invisible_character",
            "Must not contain invisible or private-use characters.",
        ));
    }
    Ok(())
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Name(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

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
        assert_eq!(code("\u{2028}\u{3000}"), Some("required"));
        assert_eq!(code(""), Some("required"));
    }

    #[test]
    fn a_name_is_not_shown_by_debug() {
        assert_eq!(
            format!("{:?}", Name::parse("Ada").expect("valid")),
            "Name(..)"
        );
    }

    /// There is no letter that it could join.
    #[test]
    fn a_joiner_behind_marks_alone_is_refused() {
        assert_eq!(code("\u{301}\u{200d}a"), Some("invisible_character"));
    }

    #[test]
    fn control_characters_inside_are_refused() {
        for text in [
            "a\0b",
            "a\nb",
            "a\u{85}b",
            "a\u{7f}b",
            "a\u{1b}[31mb",
            "a\u{2028}b",
            "a\u{2029}b",
        ] {
            assert_eq!(code(text), Some("control_character"), "{text:?}");
        }
    }

    #[test]
    fn bidirectional_controls_are_refused_at_any_position() {
        let controls = ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
        for control in controls.chain(['\u{200e}', '\u{200f}', '\u{61c}']) {
            for text in [
                format!("a{control}b"),
                format!("{control}ada"),
                format!("ada{control}"),
                format!("שלמה{control}"),
                control.to_string(),
            ] {
                assert_eq!(code(&text), Some("bidirectional_control"), "{text:?}");
            }
        }
    }

    #[rstest]
    #[case::zero_width_space("\u{200b}")]
    #[case::byte_order_mark("\u{feff}")]
    #[case::soft_hyphen("\u{ad}")]
    #[case::word_joiner("\u{2060}")]
    #[case::joiner("\u{200d}")]
    #[case::non_joiner("\u{200c}")]
    #[case::braille_blank("\u{2800}")]
    #[case::hangul_filler("\u{3164}")]
    #[case::half_width_filler("\u{ffa0}")]
    #[case::jamo_fillers("\u{115f}\u{1160}")]
    #[case::grapheme_joiner("\u{34f}")]
    #[case::khmer_vowel("\u{17b4}")]
    #[case::mongolian_separator("\u{180e}")]
    #[case::variation_selector("\u{fe0f}")]
    #[case::tag("\u{e0041}")]
    #[case::private_use("\u{e000}")]
    #[case::private_use_beyond("\u{10fffd}")]
    #[case::no_character("\u{ffff}")]
    #[case::annotation("\u{fff9}")]
    fn an_invisible_character_is_refused_alone_and_inside_a_name(#[case] hidden: &str) {
        for text in [
            hidden.to_owned(),
            hidden.repeat(255 / hidden.chars().count()),
            format!(" {hidden} \u{a0} {hidden} "),
        ] {
            assert_eq!(code(&text), Some("nothing_visible"), "{text:?}");
        }
        assert_eq!(code(&format!("{hidden}Ada")), Some("invisible_character"));
        // A selector after a letter has no effect here, but has one after other characters.
        if hidden != "\u{fe0f}" {
            for text in [format!("A{hidden}da"), format!("Ada{hidden}")] {
                assert_eq!(code(&text), Some("invisible_character"), "{text:?}");
            }
        }
    }

    #[rstest]
    #[case::latin("Zoë Müller-O’Neill")]
    #[case::marks_apart("Zoe\u{308}")]
    #[case::vietnamese("Nguyễn Thị Minh Khai")]
    #[case::arabic("محمد بن سلمان")]
    #[case::hebrew("שלמה המלך")]
    #[case::persian("علی\u{200c}رضا")]
    #[case::sinhala("ශ\u{dca}\u{200d}රී")]
    #[case::sinhala_conjunct("ප\u{dca}\u{200d}රනාන්දු")]
    #[case::malayalam_of_old("അനില\u{d4d}\u{200d}")]
    #[case::telugu("రాజ\u{c4d}\u{200c}కుమార్")]
    #[case::bengali("র\u{200d}\u{9cd}যাব")]
    #[case::marathi("दत\u{94d}\u{200d}त")]
    #[case::japanese("葛\u{e0100}城 太郎")]
    #[case::wide_space("山田\u{3000}太郎")]
    #[case::korean("김민준")]
    #[case::mongolian("ᠮᠣᠩᠭᠣᠯ\u{180b}")]
    #[case::thai("สมชาย")]
    #[case::arabic_number_sign("\u{600}١٢")]
    #[case::emoji("Ada 🚀")]
    #[case::heart("Ada ❤\u{fe0f}")]
    #[case::fire("❤\u{fe0f}\u{200d}🔥")]
    #[case::family("👨\u{200d}👩\u{200d}👧")]
    #[case::astronaut("👩🏽\u{200d}🚀")]
    #[case::runner("🏃🏿\u{200d}♀\u{fe0f}\u{200d}➡\u{fe0f}")]
    #[case::rainbow("🏳\u{fe0f}\u{200d}🌈")]
    #[case::keycap("1\u{fe0f}\u{20e3}")]
    #[case::country("🇫🇷")]
    #[case::scotland("🏴\u{e0067}\u{e0062}\u{e0073}\u{e0063}\u{e0074}\u{e007f}")]
    #[case::two_flags(
        "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}🏴\u{e0075}\u{e0073}\u{e0074}\u{e0078}\u{e007f}"
    )]
    #[case::braille("⠠⠁⠙⠁")]
    #[case::not_assigned_yet("\u{378}")]
    fn names_of_all_scripts_are_kept_unchanged(#[case] text: &str) {
        assert_eq!(Name::parse(text).expect(text).as_str(), text);
    }

    #[rstest]
    #[case::joiner_between_letters("pay\u{200d}pal")]
    #[case::non_joiner_between_letters("pay\u{200c}pal")]
    #[case::joiner_between_cjk("山\u{200d}田")]
    #[case::at_the_end("علی\u{200c}")]
    #[case::twice("علی\u{200c}\u{200c}رضا")]
    #[case::before_a_space("علی\u{200c} رضا")]
    #[case::emoji_and_letter("👨\u{200d}a")]
    #[case::apart("👨\u{200c}👩")]
    #[case::emoji_at_the_end("👨\u{200d}")]
    #[case::selector_twice("❤\u{fe0f}\u{fe0f}")]
    #[case::selector_behind_space("a \u{fe0f}b")]
    #[case::tags_behind_a_letter("a\u{e0067}\u{e0062}\u{e007f}")]
    #[case::tags_without_end("🏴\u{e0067}\u{e0062}")]
    #[case::end_without_tags("🏴\u{e007f}")]
    #[case::too_many_tags(
        "🏴\u{e0067}\u{e0062}\u{e0062}\u{e0062}\u{e0062}\u{e0062}\u{e0062}\u{e007f}"
    )]
    #[case::upper_case_tags("🏴\u{e0047}\u{e0042}\u{e007f}")]
    fn invisible_characters_are_refused_where_nothing_needs_them(#[case] text: &str) {
        assert_eq!(code(text), Some("invisible_character"), "{text:?}");
    }

    /// Tries every invisible character, alone and between two others, and a sample of the visible
    /// ones; of the unassigned and private-use planes, a sample only.
    #[test]
    fn every_valid_name_is_visible() {
        let is_tried = |c: &char| match c {
            '\u{40000}'..'\u{e0000}' | '\u{f0000}'.. => u32::from(*c).is_multiple_of(997),
            _ => u32::from(*c).is_multiple_of(31) || unicode::is_hidden(*c),
        };
        for character in ('\0'..=char::MAX).filter(is_tried) {
            let mut buffer = [0; 4];
            let alone = Name::parse(character.encode_utf8(&mut buffer));
            assert_eq!(alone.is_ok(), unicode::shows(character), "{character:?}");
            if !unicode::is_hidden(character) {
                continue;
            }
            let is_taken = Name::parse(&format!("x{character}x")).is_ok();
            let is_selector = matches!(
                character,
                '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}'
            );
            assert_eq!(is_taken, is_selector, "{character:?}");
        }
    }

    /// Characters of every block, invisible ones more often.
    fn any_text() -> impl Strategy<Value = String> {
        let hidden = prop::sample::select(
            "\u{200b}\u{200c}\u{200d}\u{200e}\u{202e}\u{2066}\u{feff}\u{fe0f}\u{e0100}\u{e0041}\
             \u{e0067}\u{e007f}\u{2800}\u{3164}\u{ad}\u{34f}\u{2028}\u{a0}\u{3000}\u{94d}\u{20e3}\
             🏴👨🏽🇫دकa "
                .chars()
                .collect::<Vec<_>>(),
        );
        let character = prop_oneof![2 => hidden, 1 => any::<char>()];
        prop::collection::vec(character, 0..40).prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn a_valid_name_is_visible_and_changes_no_direction(text in any_text()) {
            if let Ok(name) = Name::parse(&text) {
                let name = name.as_str();
                prop_assert_eq!(name, text.trim());
                let again = Name::parse(name).expect("it was valid");
                prop_assert_eq!(again.as_str(), name);
                prop_assert!(name.chars().any(unicode::shows));
                prop_assert!(!name.chars().any(unicode::is_bidi_control));
                prop_assert!(!name.chars().any(char::is_control));
                // An invisible character is never first, where nothing could need it.
                prop_assert!(!name.chars().next().is_some_and(unicode::is_hidden));
            }
        }

        #[test]
        fn text_without_invisible_characters_is_a_name(text in any_text()) {
            let visible: String = text.chars().filter(|c| !unicode::is_hidden(*c)).collect();
            let is_name = visible.chars().any(unicode::shows);
            prop_assert_eq!(Name::parse(&visible).is_ok(), is_name);
        }
    }
}
