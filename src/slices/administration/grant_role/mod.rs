//! `PUT` and `DELETE /admin/users/{id}/roles/{role}`: grants roles, and takes them away.

mod http;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice::for_administrators(http::operations);
