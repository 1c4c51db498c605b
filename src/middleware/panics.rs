//! A panic in a handler is a 500 for its request and nothing more.

use std::panic::AssertUnwindSafe;

use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use futures_util::FutureExt;

use super::{answer, settled};
use crate::platform::problem::Problem;

/// Answers 500 where the handler panics. The panic hook has logged it by then.
pub async fn catch_panics<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let http = request.request().clone();
    // The request's state is dropped with its future; what it shares guards itself.
    let outcome = AssertUnwindSafe(next.call(request)).catch_unwind().await;
    Ok(match outcome {
        Ok(result) => settled(http, result),
        Err(_) => answer(http, &Problem::internal().closing()),
    })
}
