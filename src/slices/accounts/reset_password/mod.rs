//! `POST /auth/password/reset`: a user sets another password, by the token of a mail.
//!
//! It logs in no one. All sessions end, and all other links are void. The address counts as verified
//! then, as the mail has reached its owner.

mod command;
mod http;
mod store;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice::new(http::operations);
