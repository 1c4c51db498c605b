//! `PATCH /admin/users/{id}` and `DELETE /admin/users/{id}/sessions`: suspends and activates users, and ends
//! their sessions.

mod http;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice::for_administrators(http::operations);
