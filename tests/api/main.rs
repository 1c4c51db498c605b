//! The service as its clients see it: the real binary, over HTTP, on every backend.

mod context;
mod harness;
mod hostile;
mod read;
mod signup;
