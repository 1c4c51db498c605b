//! The edge of the application: checks every request, and completes every response.

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError};

use super::hosts::Hosts;
use super::{head, headers};

/// Checks the [`head`] of a request, and completes the [`headers`] of the response.
///
/// # Errors
/// Those of the inner service.
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
