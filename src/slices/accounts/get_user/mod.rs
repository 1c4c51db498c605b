//! `GET /users/{id}`: one user, from the projection.

mod http;
mod store;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice::new(http::operations);
