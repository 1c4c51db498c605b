//! `POST /auth/introspect`: whether an access token is valid, and what it says (RFC 7662).

mod http;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice::new(http::operations);
