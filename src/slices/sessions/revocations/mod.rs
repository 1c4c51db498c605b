//! `GET /auth/revocations`: the revocations that services which check tokens themselves must know.

mod cursor;
mod http;
mod store;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice {
    limits: http::LIMITS,
    ..Slice::new(http::operations)
};
