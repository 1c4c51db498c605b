//! A signup service: accounts are made exactly once, whatever crashes, and read from a
//! projection that is kept in the same transaction.
//!
//! The modules stand in the order in which a request meets them.

// They panic where the stream takes nothing. Commands write through `cli::terminal`, the service
// through its log.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod access;
pub mod app;
pub mod cli;
pub mod config;
pub mod dependencies;
pub mod http;
pub mod lifecycle;
pub mod slice;
pub mod slices;

pub mod domain;
pub mod hashing;
pub mod idempotency;
pub mod platform;
