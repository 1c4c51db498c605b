//! `POST /auth/reauthenticate`: a user in a session sends the password again, for an operation that
//! needs a fresh one.

mod command;
mod http;
mod metrics;
mod store;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice {
    metrics: metrics::register,
    ..Slice::new(http::operations)
};
