//! Servers for one test process, from the machine's own binaries.
//!
//! Each server listens on a free port of the loopback device, in its own folder. A watchdog outside
//! the process stops it and removes the folder when the process ends, however it ends.

pub mod pgbouncer;
pub mod postgres;
mod process;
pub mod redis;
