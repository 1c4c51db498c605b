//! The middleware of every request, outermost first: the request context, the span, the access log,
//! the [`edge`]. Processing per operation is in [`resource`](super::resource).

pub mod access_log;
pub mod client;
pub mod edge;
pub mod head;
pub mod headers;
pub mod hosts;
pub mod idempotency;
pub mod request_context;
pub mod trace;
