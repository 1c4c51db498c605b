#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod blowfish;
mod cost;
mod digits_of_pi;
mod error;
mod hash;
mod lane;

pub use cost::Cost;
pub use error::Error;
pub use hash::Hash;
pub use lane::{Lane, advance};

/// The maximum number of lanes that advance together.
pub const MAX_LANES: usize = 8;

/// The maximum length of a password in bcrypt, in bytes.
pub const MAX_PASSWORD: usize = 72;
