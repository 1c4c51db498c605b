//! The HTTP face: the server's threads, each connection, and what crosses from one to the other.
//!
//! `hyper` reads and writes HTTP/1.1, one request of a connection at a time; `actix-web` routes
//! requests to handlers; [`exchange`] is the bridge between their types. [`connections`] bounds
//! what all clients together can make the service hold. See ADR 14.

mod connection;
pub mod connections;
mod exchange;
pub mod server;
