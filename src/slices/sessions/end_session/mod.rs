//! `DELETE /users/me/sessions/{id}`: ends one session of the caller.

mod http;
mod store;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice::new(http::operations);
