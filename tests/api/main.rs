//! Tests of the real binary over HTTP, on every backend.

mod access;
mod accounts;
mod administration;
mod at_rest;
mod cli_accounts;
mod command_line;
mod connections;
mod context;
mod credentials;
mod docs;
mod erasure;
mod harness;
mod hashing;
mod hostile;
mod idempotency;
mod leaks;
mod lifecycle;
mod lifetimes;
mod login;
mod mail;

mod migrations;
mod model;
mod operations;
mod read;
mod redis;
mod refresh;
mod resources;
mod sessions;
mod settings;
mod sharing;
mod signup;
mod store_state;
mod terminal;
mod tokens;
mod traces;
