//! Validation errors of a single field.

use std::borrow::Cow;

/// Every code of a [`BrokenRule`]. To add one, put it here; a test compares the list with the code.
pub const CODES: &[&str] = &[
    "required",
    "too_long",
    "control_character",
    "invalid_email",
    "too_short",
    "nul_character",
    "own_name_or_address",
    "common",
    "too_guessable",
    "breached",
    "bidirectional_control",
    "nothing_visible",
    "invisible_character",
    "unknown_value",
    "out_of_range",
    "invalid_locale",
];

/// A rule that a value broke.
///
/// The code is for programs and is part of the HTTP contract; the detail is a sentence for
/// people and never repeats the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct BrokenRule {
    /// A short, stable word such as `too_long`: one of [`CODES`].
    pub code: &'static str,
    /// One sentence that says how to fix the value.
    pub detail: Cow<'static, str>,
}

impl BrokenRule {
    /// A broken rule with a fixed text.
    #[must_use]
    pub const fn new(code: &'static str, detail: &'static str) -> Self {
        Self {
            code,
            detail: Cow::Borrowed(detail),
        }
    }
}
