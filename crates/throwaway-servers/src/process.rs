//! Process management for all servers: ports, signals, and termination with the test process.

use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Stops the server and removes its folder, once its standard input closes.
const WATCHDOG: &str = r#"
read -r _
kill -CONT "$1" $(cat "/proc/$1/task/$1/children" 2>/dev/null) 2>/dev/null
kill -INT "$1" 2>/dev/null
tries=0
while kill -0 "$1" 2>/dev/null && [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
kill -KILL "$1" 2>/dev/null
rm -rf "$2"
"#;

/// Starts a watchdog that stops the server and removes its folder when the returned input is dropped, or when this
/// process ends, however it ends.
pub fn watch(server: &Child, folder: &Path) -> io::Result<ChildStdin> {
    let mut watchdog = Command::new("sh")
        .args(["-c", WATCHDOG, "watchdog"])
        .arg(server.id().to_string())
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    let stdin = watchdog.stdin.take();
    stdin.ok_or_else(|| io::Error::other("the watchdog has no input"))
}

/// Starts a server on a free port, and retries if another process has taken the port meanwhile.
pub fn retry_while_taken<S>(start: impl Fn() -> io::Result<S>) -> io::Result<S> {
    const TRIES: u32 = 5;
    let mut result = start();
    for _ in 1..TRIES {
        match &result {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => result = start(),
            _ => break,
        }
    }
    result
}

/// A port that is free at this moment.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Sends a signal, by its name, to a process and its children.
///
/// # Panics
/// If there is no such process.
pub fn signal(process: u32, name: &str) {
    // The shell's built-in kill: a small machine may lack the program. A child may end meanwhile.
    let children = format!("$(cat /proc/{process}/task/{process}/children)");
    let kill = format!("kill -s {name} {process} && {{ kill -s {name} {children}; true; }}");
    let status = Command::new("sh")
        .args(["-c", &kill])
        .stderr(Stdio::null())
        .status();
    assert!(status.is_ok_and(|status| status.success()), "{kill}");
}
