//! `GET` and `PATCH /users/me`: the caller's own account, and its profile.

mod http;
mod store;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice {
    limits: http::LIMITS,
    ..Slice::new(http::operations)
};
