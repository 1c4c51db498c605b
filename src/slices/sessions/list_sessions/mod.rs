//! `GET /users/me/sessions`: the live sessions of the caller.

mod http;
mod store;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice {
    limits: http::LIMITS,
    ..Slice::new(http::operations)
};
