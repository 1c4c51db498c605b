//! Servers for one test process, from the machine's own binaries.
//!
//! Each server listens on a free port of the loopback device, in its own folder. A watchdog outside
//! the process stops it and removes the folder when the process ends, however it ends.

pub mod pgbouncer;
pub mod postgres;
mod process;
pub mod redis;

/// Where a binary that was built to count what it runs writes its counters, as a variable and its value: `make coverage`
/// sets it, and tests hand it on to a service whose environment they clear.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "not a setting of the service")]
pub fn counters() -> Option<(&'static str, std::ffi::OsString)> {
    const VARIABLE: &str = "LLVM_PROFILE_FILE";
    std::env::var_os(VARIABLE).map(|file| (VARIABLE, file))
}
