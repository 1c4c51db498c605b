//! A signup service: creates each account exactly once, across crashes, and reads accounts from a
//! projection that is updated in the same transaction.
//!
//! The modules are listed in the order in which a request passes through them.

// `println!` and `eprintln!` panic when the stream cannot be written. Commands write through
// `cli::terminal`, the service through its log.
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
