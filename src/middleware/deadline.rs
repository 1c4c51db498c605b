//! Every request ends by its deadline.

use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;

use super::{answer, settled};
use crate::platform::context;
use crate::platform::problem::Problem;

/// Answers 503 where the handler is not done by the deadline: the outcome is then unknown. Work
/// that must not be cut in half runs on in a task of its own.
pub async fn deadline<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(deadline) = context::with_current(|context| context.map(|c| c.deadline)) else {
        return Ok(next.call(request).await?.map_into_boxed_body());
    };
    let http = request.request().clone();
    let limit = tokio::time::Instant::from_std(deadline);
    Ok(match tokio::time::timeout_at(limit, next.call(request)).await {
        Ok(result) => settled(http, result),
        Err(_) => {
            tracing::warn!("the request did not end by its deadline");
            answer(http, &Problem::unavailable().closing())
        }
    })
}
