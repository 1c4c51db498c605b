//! The edge of the application: what every request must be, and what every response has.

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError};

use super::hosts::Hosts;
use super::{head, headers};

/// Refuses a request by its [`head`], and completes the [`headers`] of the response.
///
/// # Errors
/// Those of what it wraps.
pub async fn edge<B: MessageBody>(
    hosts: Hosts,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let mut response = match head::check(&request, &hosts) {
        Ok(()) => next.call(request).await?.map_into_left_body(),
        Err(problem) => request
            .into_response(problem.closing().error_response())
            .map_into_right_body(),
    };
    headers::complete(response.headers_mut());
    Ok(response)
}
