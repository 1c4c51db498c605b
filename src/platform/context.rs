//! Who is asking: the ids and the deadline of the request that this task serves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use opentelemetry::Context;
use opentelemetry::trace::{SpanId, TraceId};

use super::client::Client;

tokio::task_local! {
    static CURRENT: Arc<RequestContext>;
}

/// What every part of a request may know about it.
#[derive(Debug)]
pub struct RequestContext {
    /// `X-Request-ID`: 1 to 128 visible ASCII characters.
    pub request_id: String,
    /// `X-Correlation-ID`: the same form; the request id where the client sent none.
    pub correlation_id: String,
    /// Who sent it; `None` where the connection does not tell, as in a test without one.
    pub client: Option<Client>,
    /// When the answer must be out.
    pub deadline: Instant,
    /// The path pattern of the resource that took the request; unset where none did.
    pub route: OnceLock<&'static str>,
    /// Its place in a trace.
    pub trace: RequestTrace,
}

/// The place of a request in a trace. Every request has one, also where nothing is sent anywhere,
/// so that its log lines can be found by that of its caller.
#[derive(Debug)]
pub struct RequestTrace {
    /// The trace: the caller's, or a new one.
    pub trace_id: TraceId,
    /// The request's own span.
    pub span_id: SpanId,
    /// The caller's span, if it sent a `traceparent`.
    pub parent: Option<Context>,
    /// Whether spans are made.
    pub is_sampled: bool,
    span_id_taken: AtomicBool,
}

impl RequestTrace {
    /// A place in a trace.
    #[must_use]
    pub const fn new(
        trace_id: TraceId,
        span_id: SpanId,
        parent: Option<Context>,
        is_sampled: bool,
    ) -> Self {
        Self {
            trace_id,
            span_id,
            parent,
            is_sampled,
            span_id_taken: AtomicBool::new(false),
        }
    }

    /// Gives the id of the request's own span to the first who asks.
    pub fn take_span_id(&self) -> Option<SpanId> {
        let is_first = !self.span_id_taken.swap(true, Ordering::Relaxed);
        is_first.then_some(self.span_id)
    }

    /// The place as a `traceparent` has it (W3C Trace Context, section 3.2).
    #[must_use]
    pub fn as_header(&self) -> String {
        let flags = u8::from(self.is_sampled);
        format!("00-{}-{}-{flags:02x}", self.trace_id, self.span_id)
    }
}

/// The context of the request that the current task serves, if it serves one.
#[must_use]
pub fn current() -> Option<Arc<RequestContext>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// Calls `with` with the context of the current request, without a copy.
pub fn with_current<T>(mut with: impl FnMut(Option<&RequestContext>) -> T) -> T {
    CURRENT
        .try_with(|context| with(Some(context)))
        .unwrap_or_else(|_| with(None))
}

/// Runs a future as part of a request.
pub async fn scope<F: Future>(context: Arc<RequestContext>, future: F) -> F::Output {
    CURRENT.scope(context, future).await
}
