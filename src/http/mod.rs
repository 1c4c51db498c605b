//! The HTTP face.
//!
//! A slice's [`operation`]s become the [`resource`]s of a [`server`]. `hyper` reads and writes
//! HTTP/1.1, one request of a connection at a time; `actix-web` routes requests to resources;
//! [`connection`] has the bridge between their types, and bounds what all clients together can make
//! the service hold (ADR 14). [`middleware`] is what every request passes through. What leaves is
//! JSON, [`static_content`] or a [`problem`]; [`openapi`] describes it all.

pub mod connection;
pub mod json;
pub mod middleware;
pub mod openapi;
pub mod operation;
pub mod problem;
pub mod rate_limit;
pub mod resource;
pub mod server;
pub mod static_content;
