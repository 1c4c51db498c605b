//! `GET /users`: look-up by address, and the list of users, newest first; for administrators
//! `GET /admin/users`.

pub mod cursor;
mod http;
pub mod store;

use crate::slice::Slice;

pub use http::Parameters;

/// The slice.
pub const SLICE: Slice = Slice {
    readable: Some(&store::IS_READABLE),
    on_administration: http::on_administration,
    limits: http::LIMITS,
    ..Slice::new(http::operations)
};
