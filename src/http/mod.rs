//! The HTTP transport.
//!
//! A slice's [`operation`]s become the [`resource`]s of a [`server`]. `hyper` reads and writes
//! HTTP/1.1, one request of a connection at a time; [`router`] finds the resource of a path;
//! [`connection`] bridges their types, and bounds the memory that all clients together can use (ADR
//! 14). Every request passes through [`middleware`]. Responses are JSON, [`static_content`] or a
//! [`problem`]; [`openapi`] describes all of them.

pub mod attempts;
pub mod authorization;
pub mod changes;
pub mod conditional;
pub mod connection;
pub mod json;
pub mod middleware;
pub mod openapi;
pub mod operation;
pub mod problem;
pub mod query;
pub mod rate_limit;
pub mod resource;
pub mod router;
pub mod server;
pub mod static_content;
pub mod validation;

use crate::platform::limits::Limit;

/// The limits of requests and connections.
pub const LIMITS: [&[Limit]; 4] = [
    connection::LIMITS,
    middleware::head::LIMITS,
    query::LIMITS,
    rate_limit::LIMITS,
];
