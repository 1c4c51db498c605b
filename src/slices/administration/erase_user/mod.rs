//! `DELETE /admin/users/{id}`: erases a user.

mod http;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice::for_administrators(http::operations);
