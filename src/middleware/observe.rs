//! One log line and one measurement for each request.

use std::time::Instant;

use actix_web::Error;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;

use crate::lifecycle::Lifecycle;
use crate::platform::context;
use crate::platform::metrics::Metrics;

/// The route of a request that matched none.
const NO_ROUTE: &str = "unmatched";

/// Logs and measures a request by its method, the pattern that matched, its status, duration and
/// bytes: never its path, query or body, which may have an address in them.
///
/// # Errors
/// Those of what it wraps.
pub async fn observe<B: MessageBody>(
    metrics: Metrics,
    lifecycle: Lifecycle,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let begun = Instant::now();
    let in_flight = metrics.request_begins();
    let mut response = next.call(request).await?;
    drop(in_flight);
    if lifecycle.is_stopping() {
        response
            .response_mut()
            .head_mut()
            .set_connection_type(actix_web::http::ConnectionType::Close);
    }
    let took = begun.elapsed();
    let status = response.status().as_u16();
    let route = context::with_current(|context| context.and_then(|c| c.route.get().copied()))
        .unwrap_or(NO_ROUTE);
    let method = response.request().method().as_str();
    metrics.request_ended(method, route, status, took);
    let bytes = match response.response().body().size() {
        BodySize::Sized(bytes) => bytes,
        BodySize::None | BodySize::Stream => 0,
    };
    let duration_ms = (took.as_secs_f64() * 1e6).round() / 1e3;
    if status >= 500 {
        tracing::warn!(method, route, status, duration_ms, bytes, "request failed");
    } else {
        tracing::info!(method, route, status, duration_ms, bytes, "request");
    }
    Ok(response)
}
