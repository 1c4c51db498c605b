use core::fmt;

use crate::MAX_PASSWORD;
use crate::cost::{MAX, MIN};

/// Why there is no [`Cost`](crate::Cost) or no [`Lane`](crate::Lane).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The cost, which this holds, is not one of 4 to 31.
    CostOutOfRange(u32),
    /// The password has more than [`MAX_PASSWORD`] bytes; this holds how many.
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
