//! Black box: the real binary, over HTTP, on every backend.

mod harness;
mod signup;
