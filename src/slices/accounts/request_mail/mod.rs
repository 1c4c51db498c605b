//! `POST /auth/verify-email/resend` and `POST /auth/password/forgot`: an address asks for a mail.
//!
//! The response is the same for every address, and takes as long: whether it has an account is looked
//! up when the mail is sent.

mod http;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice::new(http::operations);
