//! Reads requests out of any bytes, and compares lanes with the `bcrypt` crate on them.
//!
//! In the folder of `bcrypt-lanes`: `cargo +nightly fuzz run equal_to_bcrypt`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/compare/mod.rs"]
mod compare;

fuzz_target!(|bytes: &[u8]| compare::compare(&compare::requests(bytes)));
