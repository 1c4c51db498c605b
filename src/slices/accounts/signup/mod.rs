//! `POST /signup`: creates an account.
//!
//! The HTTP part parses and validates; the command hashes the password, then passes everything that
//! must commit together to the store.

pub mod command;
mod http;
mod metrics;
pub mod store;

use crate::slice::Slice;

pub use http::SignUpRequest;

/// The slice.
pub const SLICE: Slice = Slice {
    metrics: metrics::register,
    ..Slice::new(http::operations)
};
