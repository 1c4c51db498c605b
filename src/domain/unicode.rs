//! Visible and invisible characters, and where the invisible ones are needed.
//!
//! The properties are those of the Unicode Character Database, as in `icu_properties`. To allow
//! another invisible character, add where it is needed to [`is_needed`].

use icu_properties::props::{
    BidiControl, CanonicalCombiningClass, DefaultIgnorableCodePoint, EmojiModifier,
    ExtendedPictographic, GeneralCategory, JoiningType, NoncharacterCodePoint,
    PrependedConcatenationMark, VariationSelector, WhiteSpace,
};
use icu_properties::{CodePointMapData, CodePointSetData};

const BRAILLE_BLANK: char = '\u{2800}';
const ZERO_WIDTH_NON_JOINER: char = '\u{200c}';
const ZERO_WIDTH_JOINER: char = '\u{200d}';
const BLACK_FLAG: char = '\u{1f3f4}';
const CANCEL_TAG: char = '\u{e007f}';

/// The most tags of a flag, without the cancel tag (UTS 51, annex C: a subdivision such as
/// `gbsct`).
const MAX_TAGS: usize = 6;

/// Whether a character is visible, if only as a box where the font lacks it. White space is not.
pub fn shows(character: char) -> bool {
    !is_hidden(character) && !CodePointSetData::new::<WhiteSpace>().contains(character)
}

/// Whether a character is invisible, or has no agreed meaning: ignorable characters, among them the
/// Hangul fillers; format characters other than signs; controls, private use, non-characters, and
/// the Braille blank.
pub fn is_hidden(character: char) -> bool {
    // Nearly all input.
    if matches!(character, ' '..='~') {
        return false;
    }
    let category = CodePointMapData::<GeneralCategory>::new().get(character);
    let is_hidden = match category {
        GeneralCategory::Control
        | GeneralCategory::PrivateUse
        | GeneralCategory::Surrogate
        | GeneralCategory::LineSeparator
        | GeneralCategory::ParagraphSeparator => true,
        GeneralCategory::Format => {
            !CodePointSetData::new::<PrependedConcatenationMark>().contains(character)
        }
        GeneralCategory::Unassigned => {
            CodePointSetData::new::<NoncharacterCodePoint>().contains(character)
        }
        _ => character == BRAILLE_BLANK,
    };
    is_hidden || is_ignorable(character)
}

/// Whether a character is ignored by software that does not support it.
pub fn is_ignorable(character: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character)
}

/// Whether a character joins its neighbours, or keeps them apart.
pub const fn is_joiner(character: char) -> bool {
    matches!(character, ZERO_WIDTH_NON_JOINER | ZERO_WIDTH_JOINER)
}

/// Whether a character changes the direction of the text around it.
pub fn is_bidi_control(character: char) -> bool {
    CodePointSetData::new::<BidiControl>().contains(character)
}

/// Whether an invisible character has an effect between these neighbours:
///
/// - a variation selector, after the character whose form it selects;
/// - a joiner beside a virama or after a letter that joins, as the scripts of Persia, India and
///   their neighbours need it (compare RFC 5892, appendix A), or in an emoji (UTS 51);
/// - the tags of a subdivision flag.
pub fn is_needed(character: char, before: &[char], behind: &[char]) -> bool {
    let Some(&last) = before.last() else {
        return false;
    };
    if CodePointSetData::new::<VariationSelector>().contains(character) {
        return shows(last);
    }
    match character {
        ZERO_WIDTH_NON_JOINER | ZERO_WIDTH_JOINER => {
            is_joiner_needed(character, last, before, behind)
        }
        CANCEL_TAG => is_tag(last) && is_behind_flag(before),
        _ if is_tag(character) => {
            let goes_on = |next: &char| is_tag(*next) || *next == CANCEL_TAG;
            behind.first().is_some_and(goes_on) && is_behind_flag(before)
        }
        _ => false,
    }
}

fn is_joiner_needed(joiner: char, last: char, before: &[char], behind: &[char]) -> bool {
    // Also at the end of a word, as in the older spelling of some Malayalam letters.
    if is_virama(last) {
        return true;
    }
    let Some(&next) = behind.first().filter(|next| shows(**next)) else {
        return false;
    };
    let Some(&base) = before.iter().rev().find(|before| !extends(**before)) else {
        return false;
    };
    let is_pictograph = |c| CodePointSetData::new::<ExtendedPictographic>().contains(c);
    let joins = !matches!(
        CodePointMapData::<JoiningType>::new().get(base),
        JoiningType::NonJoining | JoiningType::Transparent
    );
    joins
        || (is_virama(next) && shows(last))
        || (joiner == ZERO_WIDTH_JOINER && is_pictograph(base) && is_pictograph(next))
}

fn is_virama(character: char) -> bool {
    let class = CodePointMapData::<CanonicalCombiningClass>::new().get(character);
    class == CanonicalCombiningClass::Virama
}

/// Whether a character belongs to the one before it.
fn extends(character: char) -> bool {
    let category = CodePointMapData::<GeneralCategory>::new().get(character);
    matches!(
        category,
        GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark
    ) || CodePointSetData::new::<EmojiModifier>().contains(character)
}

/// A tag of a country or subdivision; [`CANCEL_TAG`] ends them.
const fn is_tag(character: char) -> bool {
    matches!(character, '\u{e0030}'..='\u{e0039}' | '\u{e0061}'..='\u{e007a}')
}

fn is_behind_flag(before: &[char]) -> bool {
    let mut last = before.iter().rev().take(MAX_TAGS + 1);
    last.find(|before| !is_tag(**before)) == Some(&BLACK_FLAG)
}
