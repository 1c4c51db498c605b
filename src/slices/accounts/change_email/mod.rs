//! `POST /users/me/email`: a user asks to move the account to another address.
//!
//! Nothing changes yet: a mail to the new address confirms it ([`confirm_email`](super::confirm_email)), and
//! one to the address until now can undo it. Whether the new address has an account is found out when the
//! mail is sent, so the response is the same for every address.

mod http;
mod store;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice {
    limits: http::LIMITS,
    ..Slice::new(http::operations)
};
