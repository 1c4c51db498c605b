//! Who is asking: the ids and the deadline of the request that this task serves.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

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
    /// When the answer must be out.
    pub deadline: Instant,
    /// The path pattern of the resource that took the request; unset where none did.
    pub route: OnceLock<&'static str>,
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
