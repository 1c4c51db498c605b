//! Settings of passwords.

use std::path::PathBuf;

use super::reader::Sources;
use super::setting::{Setting, fixed, text, worded};
use super::values::{number, one_line};

/// The rows of this group.
pub(super) const SETTINGS: &[Setting] = &[
    fixed(
        "PASSWORD_MIN_LENGTH",
        "passwords.min_length",
        "8",
        "The least number of characters of a new password, 8 to 64. NIST advises 15 where a password is the only factor.",
    ),
    text(worded(
        "BREACHED_PASSWORDS_FILE",
        "passwords.breached_file",
        "none: no password is looked up",
        "A file of breached passwords, made by `signup-service breached build`: new passwords in it are refused, and a login \
     reports one. The service takes another file within seconds, once it is renamed to this name.",
    )),
    worded(
        "BREACHED_PASSWORDS_MEMORY_MB",
        "passwords.breached_memory_mb",
        "256, or an eighth of the memory if that is less",
        "The largest such file that is in memory, in MiB, 0 to 4096; two are while one replaces the other. A larger one is read \
     from the disk for each new password and each login.",
    ),
];

/// Settings of passwords.
#[derive(Debug, Clone)]
pub struct PasswordSettings {
    /// The least number of characters of a new password.
    pub min_length: usize,
    /// The file of breached passwords.
    pub breached_file: Option<PathBuf>,
    /// The largest such file that is in memory, in MiB. `None` if that depends on the memory.
    pub breached_memory: Option<u64>,
}

pub(super) fn read(s: &mut Sources) -> PasswordSettings {
    PasswordSettings {
        min_length: s.take("passwords.min_length", |text| number(text, (8, 64))),
        breached_file: s.take_optional("passwords.breached_file", |text| {
            one_line(text).map(|()| PathBuf::from(text))
        }),
        breached_memory: s.take_optional("passwords.breached_memory_mb", |text| {
            number(text, (0, 4096))
        }),
    }
}
