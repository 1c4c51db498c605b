//! `POST /admin/users`: makes an account for another person, who chooses the password by a mail.

mod http;
mod store;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice::for_administrators(http::operations);
