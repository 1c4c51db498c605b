//! What every request passes through, outermost first: the request context, the span, the log
//! line and figures, the [`edge`]; and then, around each [`resource`], the guard against panics and
//! the deadline. A slice that asks for them has [`rate_limit`] and [`idempotency`] before its
//! command.

pub mod client;
pub mod edge;
pub mod head;
pub mod headers;
pub mod hosts;
pub mod idempotency;
pub mod observe;
pub mod rate_limit;
pub mod request_context;
pub mod resource;
pub mod trace;
