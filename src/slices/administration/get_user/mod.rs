//! `GET /admin/users/{id}`: a user with its roles, its live sessions and its history.

mod http;
mod store;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice {
    limits: store::LIMITS,
    ..Slice::for_administrators(http::operations)
};
