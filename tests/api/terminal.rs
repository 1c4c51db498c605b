//! Every command, and the service, with standard streams that are closed, full, broken or stuck.
//!
//! The exit code reflects the outcome, the work is complete or not begun, and nothing panics, whether
//! or not the output is read.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rstest::rstest;

use crate::harness::{counters, run};

const BINARY: &str = env!("CARGO_BIN_EXE_signup-service");
const LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);

/// A fault of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The process starts without it.
    Closed,
    /// Every write fails; a read returns endless zeros.
    Full,
    /// The other end is closed.
    Broken,
    /// The other end is open, but neither reads nor writes.
    Stuck,
}
use State::{Broken, Closed, Full, Stuck};

const STATES: [State; 4] = [Closed, Full, Broken, Stuck];

/// A standard stream, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
}
use Stream::{Stderr, Stdin, Stdout};

const STREAMS: [Stream; 3] = [Stdin, Stdout, Stderr];

/// A process, and the other end of its stuck stream.
struct Process {
    child: Child,
    _held: Option<Box<dyn std::any::Any>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the binary with one stream in this state, and the others at `/dev/null`.
fn start(arguments: &[&str], settings: &[(&str, &str)], stream: Stream, state: State) -> Process {
    let mut command = if state == Closed {
        // The shell closes the stream before the binary starts.
        let close = match stream {
            Stdin => "exec \"$0\" \"$@\" 0<&-",
            Stdout => "exec \"$0\" \"$@\" 1>&-",
            Stderr => "exec \"$0\" \"$@\" 2>&-",
        };
        let mut command = Command::new("/bin/sh");
        command.args(["-c", close, BINARY]);
        command
    } else {
        Command::new(BINARY)
    };
    command
        .env_clear()
        .envs(counters())
        .args(arguments)
        .envs(settings.iter().copied());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let (mut held, mut stdio) = (None::<Box<dyn std::any::Any>>, None::<Stdio>);
    match state {
        Closed => {}
        Full => {
            let full = File::options().read(true).write(true).open("/dev/full");
            stdio = Some(full.expect("it exists on Linux").into());
        }
        Broken | Stuck => {
            let (reader, mut writer) = std::io::pipe().expect("a pipe");
            if state == Stuck && stream != Stdin {
                fill(&mut writer);
            }
            stdio = Some(if stream == Stdin {
                held = (state == Stuck).then(|| Box::new(writer) as _);
                reader.into()
            } else {
                held = (state == Stuck).then(|| Box::new(reader) as _);
                writer.into()
            });
        }
    }
    if let Some(stdio) = stdio {
        match stream {
            Stdin => command.stdin(stdio),
            Stdout => command.stdout(stdio),
            Stderr => command.stderr(stdio),
        };
    }
    let child = command.spawn().expect("the binary runs");
    // Closes this process's copy of the stream.
    drop(command);
    Process { child, _held: held }
}

/// Writes until a pipe is full.
fn fill(writer: &mut std::io::PipeWriter) {
    // Through a second, non-blocking descriptor, so that the first one stays blocking.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(writer));
    let mut options = File::options();
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, NONBLOCK);
    let mut again = options.write(true).open(path).expect("a pipe opens again");
    for size in [4096, 1] {
        while again.write(&vec![b'x'; size]).is_ok() {}
    }
}

/// `O_NONBLOCK` of Linux.
const NONBLOCK: i32 = 0o4000;

impl Process {
    /// Waits for the process to end; returns its exit code.
    fn code(&mut self) -> i32 {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                assert_eq!(status.signal(), None, "{status}");
                return status.code().expect("no signal");
            }
            assert!(begun.elapsed() < LIMIT, "it does not end");
            std::thread::sleep(POLL);
        }
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -s {name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.expect("sh runs").success());
    }
}

/// A listening address that no other process uses: a unique loopback address, and a port that is free there.
fn free_address() -> (String, String) {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let [_, a, b, c] =
        (std::process::id() << 8 | NEXT.fetch_add(1, Ordering::Relaxed)).to_be_bytes();
    let host = format!("127.{}.{b}.{c}", a | 1);
    let free = std::net::TcpListener::bind((host.as_str(), 0)).expect("a port");
    let port = free.local_addr().expect("bound").port();
    (host, port.to_string())
}

/// Asserts that a database is intact: a file opened under the number of a closed stream would receive the log.
fn assert_intact(database: &Path) {
    let bytes = std::fs::read(database).expect("a database");
    assert!(bytes.starts_with(b"SQLite format 3\0"));
    let url = format!("sqlite://{}", database.display());
    let status = run(
        &["migrate", "status", "--exit-code"],
        &[("DATABASE_URL", &url)],
    );
    assert_eq!(status.status.code(), Some(0), "{status:?}");
}

fn everything() -> impl Iterator<Item = (Stream, State)> {
    STREAMS
        .into_iter()
        .flat_map(|stream| STATES.map(|state| (stream, state)))
}

/// Whether writes to this stream fail with an error.
fn refuses(stream: Stream, state: State) -> bool {
    (stream, state) == (Stdout, Full)
}

#[test]
fn commands_that_print() {
    for arguments in [
        &["openapi"][..],
        &["settings"],
        &["--help"],
        &["--version"],
        &["migrate", "--help"],
    ] {
        for (stream, state) in everything() {
            if (stream, state) == (Stdout, Stuck) {
                // It correctly waits for its reader.
                continue;
            }
            let code = start(arguments, &[], stream, state).code();
            let expected = i32::from(refuses(stream, state));
            assert_eq!(code, expected, "{arguments:?} {stream:?} {state:?}");
        }
    }
}

#[test]
fn usage_and_settings_errors() {
    for (arguments, settings) in [
        (&["sevre"][..], &[][..]),
        (&["serve", "--wrong"], &[]),
        (&["serve"], &[("PORT", "x")]),
        (&["migrate"], &[("DATABASE_URL", "x")]),
        (&["--config", "/nowhere"], &[]),
    ] {
        for (stream, state) in everything() {
            let code = start(arguments, settings, stream, state).code();
            assert_eq!(code, 2, "{arguments:?} {stream:?} {state:?}");
        }
    }
}

#[test]
fn migrations_apply_and_revert_whatever_the_streams() {
    for (stream, state) in everything() {
        if (stream, state) == (Stdout, Stuck) {
            continue;
        }
        let what = format!("{stream:?} {state:?}");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("signup.db");
        let url = format!("sqlite://{}", file.display());
        let settings = [("DATABASE_URL", url.as_str())];
        let code = |arguments: &[&str]| start(arguments, &settings, stream, state).code();
        assert_eq!(code(&["migrate"]), 0, "{what}");
        assert_intact(&file);
        let full = i32::from(refuses(stream, state));
        assert_eq!(code(&["migrate", "status"]), full, "{what}");
        // No confirmation is possible.
        assert_eq!(code(&["migrate", "down"]), 1, "{what}");
        assert_intact(&file);
        assert_eq!(code(&["migrate", "down", "--yes"]), 0, "{what}");
        let status = run(&["migrate", "status", "--exit-code"], &settings);
        assert_eq!(status.status.code(), Some(3), "{status:?}");
        assert!(status.stdout.contains("1 pending of"), "{status:?}");
        assert_eq!(code(&["migrate", "up"]), 0, "{what}");
        assert_intact(&file);
    }
}

#[test]
fn a_reader_that_closes_early_does_not_abort_the_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("signup.db").display());
    let piped = |arguments: &str| {
        // The exit code of the binary, not that of the pipe.
        let script = format!("{{ {BINARY} {arguments}; echo $? >&2; }} | head -n 1");
        let output = Command::new("sh")
            .args(["-c", &script])
            .env_clear()
            .envs(counters())
            .env("PATH", "/usr/bin:/bin")
            .env("DATABASE_URL", &url)
            .output()
            .expect("sh runs");
        String::from_utf8_lossy(&output.stderr).trim().to_owned()
    };
    assert_eq!(piped("migrate"), "0");
    let status = run(
        &["migrate", "status", "--exit-code"],
        &[("DATABASE_URL", &url)],
    );
    assert_eq!(status.status.code(), Some(0), "{status:?}");
    for arguments in ["migrate status", "openapi", "settings", "--help"] {
        assert_eq!(piped(arguments), "0", "{arguments}");
    }
}

#[rstest]
fn the_service_serves_and_stops(
    #[values(Stdin, Stdout, Stderr)] stream: Stream,
    #[values(Closed, Full, Broken, Stuck)] state: State,
) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("signup.db");
    let url = format!("sqlite://{}", file.display());
    let (host, port) = free_address();
    let settings = [
        ("DATABASE_URL", url.as_str()),
        ("HOST", host.as_str()),
        ("PORT", port.as_str()),
        ("BCRYPT_COST", "4"),
        ("BCRYPT_THREADS", "1"),
        ("HTTP_WORKERS", "1"),
        ("RUST_LOG", "trace"),
        ("LOG_FORMAT", "pretty"),
    ];
    let mut service = start(&["serve"], &settings, stream, state);
    wait_for(&mut service, (&host, &port), "/health", 200);
    service.signal("TERM");
    assert_eq!(service.code(), 0);
    assert_intact(&file);
}

#[test]
fn a_health_check_reports_by_its_exit_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("signup.db").display());
    let (host, port) = free_address();
    let settings = [
        ("DATABASE_URL", url.as_str()),
        ("HOST", host.as_str()),
        ("PORT", port.as_str()),
        ("BCRYPT_COST", "4"),
    ];
    let address = &settings[1..3];
    let mut service = start(&["serve"], &settings, Stdin, Closed);
    wait_for(&mut service, (&host, &port), "/health", 200);
    for (stream, state) in everything() {
        if (stream, state) != (Stdout, Stuck) {
            let code = start(&["healthcheck"], address, stream, state).code();
            assert_eq!(code, 0, "{stream:?} {state:?}");
        }
    }
    service.signal("TERM");
    assert_eq!(service.code(), 0);
    for (stream, state) in everything() {
        let code = start(&["healthcheck"], address, stream, state).code();
        assert_eq!(code, 1, "{stream:?} {state:?}");
    }
}

/// Waits until the service returns this status for this path.
fn wait_for(service: &mut Process, (host, port): (&str, &str), path: &str, status: u16) {
    let begun = Instant::now();
    let expected = format!("HTTP/1.1 {status} ");
    let request = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(format!("{host}:{port}"))?;
        let head = format!("Host: {host}:{port}\r\nConnection: close");
        stream.write_all(format!("GET {path} HTTP/1.1\r\n{head}\r\n\r\n").as_bytes())?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        Ok(response)
    };
    while !request().is_ok_and(|response| response.starts_with(&expected)) {
        let ended = service.child.try_wait().expect("a child");
        assert!(ended.is_none(), "the service ended with {ended:?}");
        assert!(begun.elapsed() < LIMIT, "never {status} of {path}");
        std::thread::sleep(POLL);
    }
}

#[rstest]
fn a_second_signal_ends_at_once(
    #[values(Stdout, Stderr)] stream: Stream,
    #[values(Closed, Full, Broken, Stuck)] state: State,
) {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("signup.db").display());
    let (host, port) = free_address();
    let settings = [
        ("DATABASE_URL", url.as_str()),
        ("HOST", host.as_str()),
        ("PORT", port.as_str()),
        ("BCRYPT_COST", "4"),
        ("SHUTDOWN_DELAY_MS", "3600000"),
        ("LOG_FORMAT", "pretty"),
    ];
    let mut service = start(&["serve"], &settings, stream, state);
    wait_for(&mut service, (&host, &port), "/ready", 200);
    service.signal("TERM");
    // Two signals at once would be merged.
    wait_for(&mut service, (&host, &port), "/ready", 503);
    service.signal("TERM");
    assert_eq!(service.code(), 130);
}

/// A refusal to start is reported by the exit code even if its message is not read.
#[test]
fn a_failed_start_is_reported_by_the_exit_code() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("signup.db").display());
    let settings = [
        ("DATABASE_URL", url.as_str()),
        ("PORT", port.as_str()),
        ("BCRYPT_COST", "4"),
    ];
    for (stream, state) in everything() {
        let code = start(&[], &settings, stream, state).code();
        assert_eq!(code, 1, "{stream:?} {state:?}");
    }
}
