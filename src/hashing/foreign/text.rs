//! What the texts of all formats are made of: numbers, named parameters, base64.

use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD};
use base64::engine::DecodePaddingMode::Indifferent;
use base64::engine::GeneralPurposeConfig;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, STANDARD_NO_PAD};

use super::Refused;

/// passlib's alphabet: a `.` in place of the `+`.
const AB64: Alphabet =
    match Alphabet::new("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./") {
        Ok(alphabet) => alphabet,
        Err(_) => panic!("64 characters that differ"),
    };

/// Padding is optional: Django, Keycloak and Firebase write it, the PHC string format does not.
const PADDING_OPTIONAL: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(Indifferent);

const BASE64_READER: GeneralPurpose = GeneralPurpose::new(&STANDARD, PADDING_OPTIONAL);
const AB64_ENGINE: GeneralPurpose = GeneralPurpose::new(&AB64, NO_PAD);

/// The bytes of base64, with or without padding.
///
/// # Errors
/// When it is none.
pub fn base64(text: &str) -> Result<Vec<u8>, Refused> {
    BASE64_READER.decode(text).map_err(|_| Refused::Malformed)
}

/// The same in passlib's alphabet, without padding.
///
/// # Errors
/// When it is none.
pub fn ab64(text: &str) -> Result<Vec<u8>, Refused> {
    AB64_ENGINE.decode(text).map_err(|_| Refused::Malformed)
}

/// Base64 without padding.
pub fn to_base64(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes)
}

/// The same in passlib's alphabet.
pub fn to_ab64(bytes: &[u8]) -> String {
    AB64_ENGINE.encode(bytes)
}

/// A number in decimal digits, without a sign or a leading zero.
///
/// # Errors
/// Malformed if it is none, out of bounds if it is far too large.
pub fn number(text: &str) -> Result<u32, Refused> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits || (text.len() > 1 && text.starts_with('0')) {
        return Err(Refused::Malformed);
    }
    text.parse().map_err(|_| Refused::OutOfBounds)
}

/// The text after a name, as in `m=65536`.
///
/// # Errors
/// When the name is another one.
pub fn named<'a>(text: Option<&'a str>, name: &str) -> Result<&'a str, Refused> {
    let after = text.and_then(|text| text.strip_prefix(name));
    let value = after.and_then(|after| after.strip_prefix('='));
    value.ok_or(Refused::Malformed)
}

/// Three numbers with these names, as in `m=65536,t=3,p=4`.
///
/// # Errors
/// When one is missing, or something is left over.
pub fn three(text: &str, names: [&str; 3]) -> Result<[u32; 3], Refused> {
    let mut parts = text.split(',');
    let mut values = [0; 3];
    for (value, name) in values.iter_mut().zip(names) {
        *value = number(named(parts.next(), name)?)?;
    }
    match parts.next() {
        None => Ok(values),
        Some(_) => Err(Refused::Malformed),
    }
}

/// Exactly these many parts between `$`.
///
/// # Errors
/// When there are more or fewer.
pub fn parts<const COUNT: usize>(text: &str) -> Result<[&str; COUNT], Refused> {
    let mut parts = text.split('$');
    let mut found = [""; COUNT];
    for part in &mut found {
        *part = parts.next().ok_or(Refused::Malformed)?;
    }
    match parts.next() {
        None => Ok(found),
        Some(_) => Err(Refused::Malformed),
    }
}
