//! Tests of the real binary over HTTP, on every backend.

mod access;
mod command_line;
mod connections;
mod context;
mod docs;
mod harness;
mod hashing;
mod hostile;
mod idempotency;
mod leaks;
mod lifecycle;
mod lifetimes;
mod login;
mod migrations;
mod model;
mod operations;
mod read;
mod redis;
mod refresh;
mod resources;
mod settings;
mod sharing;
mod signup;
mod store_state;
mod terminal;
mod traces;
