//! `GET /health` and `GET /ready`: whether the process lives, and whether it can serve.

mod checks;
mod http;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice {
    limits: checks::LIMITS,
    ..Slice::for_operators(http::operations)
};
