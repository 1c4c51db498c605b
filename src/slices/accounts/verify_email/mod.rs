//! `POST /auth/verify-email`: a new user shows that the mailbox of the account is theirs.
//!
//! It takes the token of the mail and the password. The token alone would confirm an account that
//! another person made with this address, and whose password they know.

mod command;
mod http;
mod store;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice::new(http::operations);
