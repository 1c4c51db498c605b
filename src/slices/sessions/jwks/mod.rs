//! `GET /.well-known/jwks.json`: the public keys of access tokens.

mod http;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice::new(http::operations);
