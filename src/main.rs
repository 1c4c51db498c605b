//! The binary. All code is in the library, so that tests can reach it.

/// Requests and database threads free what others allocated, which glibc's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    signup_service::cli::run()
}
