//! Per-request context: ids, client, deadline and trace of the request that the current task
//! serves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use opentelemetry::Context;
use opentelemetry::trace::{SpanId, TraceId};

use super::client::Client;

tokio::task_local! {
    static CURRENT: Arc<RequestContext>;
}

/// The context of a request.
#[derive(Debug)]
pub struct RequestContext {
    /// `X-Request-ID`: 1 to 128 visible ASCII characters.
    pub request_id: String,
    /// `X-Correlation-ID`: the same form; the request id where the client sent none.
    pub correlation_id: String,
    /// The sender; `None` if the connection does not report one, as in a test without a connection.
    pub client: Option<Client>,
    /// When the response is due.
    pub deadline: Instant,
    /// The path pattern of the resource that matched; unset if none did.
    pub route: OnceLock<&'static str>,
    /// The request's position in a trace.
    pub trace: RequestTrace,
}

impl RequestContext {
    /// The network of the client, as in the log.
    #[must_use]
    pub fn network(&self) -> Option<String> {
        self.client.map(|client| client.in_log().to_string())
    }
}

/// The position of a request in a trace. Every request has one, even if no spans are exported, so
/// that its log lines can be found by its caller's trace id.
#[derive(Debug)]
pub struct RequestTrace {
    /// The trace id: the caller's, or a new one.
    pub trace_id: TraceId,
    /// The request's own span.
    pub span_id: SpanId,
    /// The caller's span, if it sent a `traceparent`.
    pub parent: Option<Context>,
    /// Whether spans are recorded.
    pub is_sampled: bool,
    span_id_taken: AtomicBool,
}

impl RequestTrace {
    /// A position in a trace.
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

    /// Returns the id of the request's own span, to the first caller only.
    pub fn take_span_id(&self) -> Option<SpanId> {
        let is_first = !self.span_id_taken.swap(true, Ordering::Relaxed);
        is_first.then_some(self.span_id)
    }

    /// The position as a `traceparent` (W3C Trace Context, section 3.2).
    #[must_use]
    pub fn as_header(&self) -> String {
        let mut header = String::with_capacity(HEADER);
        header.push_str("00-");
        push_hex(&mut header, self.trace_id.to_bytes());
        header.push('-');
        push_hex(&mut header, self.span_id.to_bytes());
        header.push_str(if self.is_sampled { "-01" } else { "-00" });
        header
    }
}

/// The length of a `traceparent`.
const HEADER: usize = 55;

/// Appends bytes in hexadecimal: faster than by the formatter of an id, and in every log line.
pub fn push_hex<const N: usize>(text: &mut String, bytes: [u8; N]) {
    const { assert!(N <= 16, "the longest id") };
    let mut digits = [0; 32];
    if let Some(digits) = digits.get_mut(..2 * N)
        && hex::encode_to_slice(bytes, digits).is_ok()
        && let Ok(digits) = std::str::from_utf8(digits)
    {
        text.push_str(digits);
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
