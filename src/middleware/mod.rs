//! What every request passes through, outermost first: the request context, the log line and
//! figures; and then, around each resource, the guard against panics and the deadline.
//!
//! [`wire`] answers what never becomes a request: bytes that HTTP can't be read from.

pub mod deadline;
pub mod observe;
pub mod panics;
pub mod request_context;
pub mod resource;
pub mod wire;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::ServiceResponse;
use actix_web::{HttpRequest, ResponseError};

use crate::platform::problem::Problem;

/// The answer to a request that ended in a problem on its way.
fn answer(request: HttpRequest, problem: &Problem) -> ServiceResponse<BoxBody> {
    ServiceResponse::new(request, problem.error_response())
}

/// Turns an error of the framework into the answer that it stands for.
fn settled<B: MessageBody + 'static>(
    request: HttpRequest,
    result: Result<ServiceResponse<B>, actix_web::Error>,
) -> ServiceResponse<BoxBody> {
    match result {
        Ok(response) => response.map_into_boxed_body(),
        Err(error) => ServiceResponse::new(request, error.error_response()),
    }
}
