//! The binary. All code is in the library, so that tests can reach it.

fn main() -> std::process::ExitCode {
    signup_service::cli::run()
}
