//! Settings of passwords.

use std::path::PathBuf;

use super::reader::Sources;
use super::setting::{Setting, text, worded};
use super::values::one_line;

/// The rows of this group.
pub(super) const SETTINGS: &[Setting] = &[text(worded(
    "BREACHED_PASSWORDS_FILE",
    "passwords.breached_file",
    "none: no password is looked up",
    "A file of breached passwords, made by `signup-service breached build`: new passwords in it are refused, and a login \
     reports one. The service takes another file within seconds, once it is renamed to this name.",
))];

/// Settings of passwords.
#[derive(Debug, Clone)]
pub struct PasswordSettings {
    /// The file of breached passwords.
    pub breached_file: Option<PathBuf>,
}

pub(super) fn read(s: &mut Sources) -> PasswordSettings {
    PasswordSettings {
        breached_file: s.take_optional("passwords.breached_file", |text| {
            one_line(text).map(|()| PathBuf::from(text))
        }),
    }
}
