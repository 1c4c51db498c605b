//! `POST /auth/logout`: ends the session of a token.
//!
//! The response does not say whether there was one (RFC 7009, section 2.2): a client that logs out is
//! logged out, whatever became of its session.

mod http;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice {
    on_administration: http::on_administration,
    ..Slice::new(http::operations)
};
