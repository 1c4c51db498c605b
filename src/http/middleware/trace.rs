//! The root span of a request.

use std::sync::Arc;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use tracing::Span;
use tracing::field::Empty;
use tracing_actix_web::RootSpanBuilder;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::http::router::Router;
use crate::platform::context::{self, RequestContext};
use crate::platform::metrics::known_method;
use crate::platform::telemetry::spans::{TARGET, fail};

/// Creates the span, for `tracing_actix_web`. It has the method and the pattern that matched, never
/// the path, query or address of the client; none is created for a request that is not traced.
pub struct RequestSpan;

impl RootSpanBuilder for RequestSpan {
    fn on_request_start(request: &ServiceRequest) -> Span {
        context::with_current(|context| match context {
            Some(context) if context.trace.is_sampled => begin(request, context),
            _ => Span::none(),
        })
    }

    fn on_request_end<B: MessageBody>(span: Span, outcome: &Result<ServiceResponse<B>, Error>) {
        if span.is_disabled() {
            return;
        }
        let status = match outcome {
            Ok(response) => response.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        span.record("http.response.status_code", status.as_u16());
        // A client error is not an error of this service.
        if status.is_server_error() {
            fail(&span, status.as_u16());
        }
    }
}

/// Names follow OpenTelemetry's semantic conventions for HTTP servers.
fn begin(request: &ServiceRequest, context: &RequestContext) -> Span {
    // The conventions' value for any other method.
    let method = known_method(request.method().as_str()).unwrap_or("_OTHER");
    let router = request.app_data::<Arc<Router>>();
    let route = router.and_then(|router| router.pattern(request.match_info().unprocessed()));
    let name = match route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    };
    let span = tracing::info_span!(
        target: TARGET, parent: None, "request",
        otel.name = name, otel.kind = "server", otel.status_code = Empty, error.type = Empty,
        http.request.method = method, http.route = route, http.response.status_code = Empty,
        request_id = context.request_id, correlation_id = context.correlation_id
    );
    if let Some(parent) = &context.trace.parent {
        // It fails only if no layer records spans.
        let _ = span.set_parent(parent.clone());
    }
    span
}
