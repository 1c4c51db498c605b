//! `DELETE /users/me/sessions`: ends all sessions of the caller but the current one.

mod http;
mod store;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice::new(http::operations);
