//! `DELETE /users/me`: a user erases the own account, at once and for good.

mod http;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice::new(http::operations);
