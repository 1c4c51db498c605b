//! `GET /`, `GET /openapi.json`, `GET /docs`, `GET /problems` and `GET /problems/{slug}`: the
//! documentation of the service; and the response to unknown paths.

mod accept;
mod assets;
mod http;
mod pages;

use crate::slice::Slice;

/// The slice.
pub const SLICE: Slice = Slice {
    fallback: Some(http::not_found),
    on_administration: http::on_administration,
    ..Slice::new(http::operations)
};
