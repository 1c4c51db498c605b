//! Decodes requests from arbitrary bytes, and compares lanes with the `bcrypt` crate on them.
//!
//! In the folder of `bcrypt-lanes`, with `cargo-fuzz` and a nightly compiler:
//! `cargo +nightly fuzz run equal_to_bcrypt -- -len_control=0 -max_len=2000`.
//! Inputs are long from the start, as only long ones keep several lanes busy.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/compare/mod.rs"]
mod compare;

fuzz_target!(|bytes: &[u8]| compare::compare(&compare::requests(bytes)));
