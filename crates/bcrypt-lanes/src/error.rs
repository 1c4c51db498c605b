use core::fmt;

use crate::MAX_PASSWORD;
use crate::cost::{MAX, MIN};

/// Why a [`Cost`](crate::Cost) or a [`Lane`](crate::Lane) could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The contained cost is not in the range from 4 to 31.
    CostOutOfRange(u32),
    /// The password has more than [`MAX_PASSWORD`] bytes; contains its length in bytes.
    PasswordTooLong(usize),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::CostOutOfRange(cost) => {
                write!(f, "the cost is {cost}, but has to be from {MIN} to {MAX}")
            }
            Error::PasswordTooLong(length) => {
                write!(
                    f,
                    "the password has {length} bytes, but bcrypt takes {MAX_PASSWORD}"
                )
            }
        }
    }
}

impl core::error::Error for Error {}
