//! `GET /users/me`: the caller's own account.

mod http;
mod store;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice::new(http::operations);
