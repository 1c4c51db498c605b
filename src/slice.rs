//! What a slice gives to the application. The slices themselves are in [`slices`](crate::slices).

use actix_web::{HttpRequest, HttpResponse};

use crate::http::operation::Operation;

/// A slice, as the application sees it.
#[derive(Clone, Copy)]
pub struct Slice {
    /// What it offers over HTTP.
    pub http: fn() -> Vec<Operation>,
    /// Whether it is for those who run the service: it then moves to the listener for them, where
    /// there is one.
    pub for_operators: bool,
    /// Responds where no resource has the path, in place of a bare 404. One slice has it.
    pub fallback: Option<fn(&HttpRequest) -> HttpResponse>,
}

impl Slice {
    /// A slice for clients.
    #[must_use]
    pub const fn new(http: fn() -> Vec<Operation>) -> Self {
        Self {
            http,
            for_operators: false,
            fallback: None,
        }
    }

    /// A slice for those who run the service.
    #[must_use]
    pub const fn for_operators(http: fn() -> Vec<Operation>) -> Self {
        Self {
            for_operators: true,
            ..Self::new(http)
        }
    }
}
