//! The access log: one log line and one measurement per request.

use std::time::Instant;

use actix_web::Error;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::Next;

use crate::http::problem::ProblemType;
use crate::lifecycle::Lifecycle;
use crate::platform::clock;
use crate::platform::context;
use crate::platform::metrics::{ABANDONED, InFlight, Metrics};

/// The route of a request that matched no resource.
const NO_ROUTE: &str = "unmatched";

/// Routes that are polled. Their successes are logged at debug.
const PROBES: [&str; 3] = ["/health", "/ready", "/metrics"];

/// Logs and measures a request by its method, the pattern that matched, its status, duration and
/// bytes, and the slug of its problem: never its path, query or body, which may contain an address.
/// them.
///
/// # Errors
/// Those of the inner service.
pub async fn observe<B: MessageBody>(
    metrics: Metrics,
    lifecycle: Lifecycle,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let mut observed = Observed {
        begun: clock::monotonic(),
        method: request.method().clone(),
        status: ABANDONED,
        problem: None,
        bytes: 0,
        in_flight: Some(metrics.request_begins()),
        metrics,
    };
    let mut response = next.call(request).await?;
    if lifecycle.is_stopping() {
        response
            .response_mut()
            .head_mut()
            .set_connection_type(actix_web::http::ConnectionType::Close);
    }
    observed.status = response.status().as_u16();
    let problem = response.response().extensions().get().copied();
    observed.problem = problem.map(|kind: ProblemType| kind.about().slug);
    observed.bytes = match response.response().body().size() {
        BodySize::Sized(bytes) => bytes,
        BodySize::None | BodySize::Stream => 0,
    };
    Ok(response)
}

/// The data of a request. It is logged and measured when dropped: also if the connection broke
/// before the response.
struct Observed {
    begun: Instant,
    method: Method,
    status: u16,
    problem: Option<&'static str>,
    bytes: u64,
    in_flight: Option<InFlight>,
    metrics: Metrics,
}

impl Drop for Observed {
    fn drop(&mut self) {
        drop(self.in_flight.take());
        let took = clock::since(self.begun);
        let route = context::with_current(|context| context.and_then(|c| c.route.get().copied()))
            .unwrap_or(NO_ROUTE);
        let (method, status, bytes) = (self.method.as_str(), self.status, self.bytes);
        self.metrics.request_ended(method, route, status, took);
        let duration_ms = (took.as_secs_f64() * 1e6).round() / 1e3;
        let problem = self.problem;
        if status >= 500 {
            tracing::warn!(
                method,
                route,
                status,
                problem,
                duration_ms,
                bytes,
                "request failed"
            );
        } else if status == ABANDONED {
            tracing::info!(
                method,
                route,
                status,
                duration_ms,
                bytes,
                "request abandoned"
            );
        } else if status < 400 && PROBES.contains(&route) {
            tracing::debug!(method, route, status, duration_ms, bytes, "request");
        } else {
            tracing::info!(
                method,
                route,
                status,
                problem,
                duration_ms,
                bytes,
                "request"
            );
        }
    }
}
