//! `GET /users/me/export`: everything that is stored about the caller, for people and machines (GDPR,
//! articles 15 and 20).

mod http;
mod store;

use crate::slice::Slice;

pub use store::export as exported;

/// The slice.
pub const SLICE: Slice = Slice {
    limits: http::LIMITS,
    ..Slice::new(http::operations)
};
