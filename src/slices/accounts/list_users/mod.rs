//! `GET /users`: look-up by address, and the list of users, newest first.

pub mod cursor;
mod http;
pub mod store;

use crate::slice::Slice;

pub use http::Parameters;

/// The slice.
pub const SLICE: Slice = Slice {
    readable: Some(&store::IS_READABLE),
    limits: http::LIMITS,
    ..Slice::new(http::operations)
};
