//! Validation of the fields of a body: all invalid ones are reported at once.

use crate::domain::BrokenRule;
use crate::http::problem::FieldError;

/// The field is missing.
pub const MISSING: BrokenRule = BrokenRule::new("required", "Is missing.");

/// Parses a field that must be there.
///
/// # Errors
/// The rule that it breaks.
pub fn required<T, F>(
    field: Option<F>,
    parse: impl FnOnce(F) -> Result<T, BrokenRule>,
) -> Result<T, BrokenRule> {
    field.ok_or(MISSING).and_then(parse)
}

/// Parses a field that may be missing.
///
/// # Errors
/// The rule that it breaks.
pub fn optional<T, F>(
    field: Option<F>,
    parse: impl FnOnce(F) -> Result<T, BrokenRule>,
) -> Result<Option<T>, BrokenRule> {
    field.map(parse).transpose()
}

/// The value of a field; else adds its error to the others. The pointer is a JSON pointer (RFC 6901).
pub fn check<T>(
    errors: &mut Vec<FieldError>,
    pointer: &'static str,
    result: Result<T, BrokenRule>,
) -> Option<T> {
    result
        .map_err(|rule| errors.push(broken(pointer, rule)))
        .ok()
}

/// The error of a field that breaks a rule.
#[must_use]
pub fn broken(pointer: &'static str, rule: BrokenRule) -> FieldError {
    FieldError {
        pointer,
        code: rule.code,
        detail: rule.detail,
    }
}
