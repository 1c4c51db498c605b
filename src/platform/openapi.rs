//! What the OpenAPI document says about the service as a whole; the slices add their paths.

use utoipa::OpenApi;

use super::problem::{FieldError, ProblemBody};
use super::representation::User;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "signup-service",
        description = "Makes an account exactly once, and reads accounts back.\n\nEvery error is \
            a problem (RFC 9457) of the media type `application/problem+json`; its `type` is a \
            page of this service. Every answer has `X-Request-ID` and `X-Correlation-ID`, taken \
            from the request where it has them.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(User, ProblemBody, FieldError))
)]
struct Base;

/// The document without paths.
#[must_use]
pub fn base() -> utoipa::openapi::OpenApi {
    Base::openapi()
}
