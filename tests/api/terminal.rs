//! Every command, and the service, with standard streams that are closed, full or broken.
//!
//! The exit status is the one that the work deserves, the work is whole or not begun, and nothing
//! panics, whoever reads or does not.

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

/// What may be wrong with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The process begins without it.
    Closed,
    /// Every write fails; a read gives zeros without end.
    Full,
    /// Nobody is at the other end.
    Broken,
    /// Somebody is at the other end, and does nothing.
    Stuck,
}
use State::{Broken, Closed, Full, Stuck};

const STATES: [State; 4] = [Closed, Full, Broken, Stuck];

/// Which stream it is: its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
}
use Stream::{Stderr, Stdin, Stdout};

const STREAMS: [Stream; 3] = [Stdin, Stdout, Stderr];

/// A process, and what keeps its stuck stream open.
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
        // The shell takes the stream away before the binary begins.
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
            stdio = Some(full.expect("Linux has it").into());
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
    // With it goes this process's copy of the stream.
    drop(command);
    Process { child, _held: held }
}

/// Writes until a pipe takes no more.
fn fill(writer: &mut std::io::PipeWriter) {
    // Through a second descriptor that does not wait, so that the first one still does.
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
    /// Waits for the end; gives the exit code.
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

/// A place for the service that nothing else on this machine takes: an address of the loopback of its
/// own, and a port that is free there.
fn place() -> (String, String) {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let [_, a, b, c] =
        (std::process::id() << 8 | NEXT.fetch_add(1, Ordering::Relaxed)).to_be_bytes();
    let host = format!("127.{}.{b}.{c}", a | 1);
    let free = std::net::TcpListener::bind((host.as_str(), 0)).expect("a port");
    let port = free.local_addr().expect("bound").port();
    (host, port.to_string())
}

/// What a process opens must not land on the number of a closed stream: a database would get the log.
fn is_whole(database: &Path) {
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

/// Whether what is written to this stream does not arrive, and the writer is told.
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
                // It waits for its reader, as it should.
                continue;
            }
            let code = start(arguments, &[], stream, state).code();
            let expected = i32::from(refuses(stream, state));
            assert_eq!(code, expected, "{arguments:?} {stream:?} {state:?}");
        }
    }
}

#[test]
fn mistakes_in_usage_and_settings() {
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
fn migrations_are_applied_and_taken_back_whoever_reads_of_it() {
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
        is_whole(&file);
        let full = i32::from(refuses(stream, state));
        assert_eq!(code(&["migrate", "status"]), full, "{what}");
        // Nobody can be asked.
        assert_eq!(code(&["migrate", "down"]), 1, "{what}");
        is_whole(&file);
        assert_eq!(code(&["migrate", "down", "--yes"]), 0, "{what}");
        let status = run(&["migrate", "status", "--exit-code"], &settings);
        assert_eq!(status.status.code(), Some(3), "{status:?}");
        assert!(status.stdout.contains("1 pending of"), "{status:?}");
        assert_eq!(code(&["migrate", "up"]), 0, "{what}");
        is_whole(&file);
    }
}

#[test]
fn a_reader_that_has_seen_enough_does_not_cut_the_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("signup.db").display());
    let piped = |arguments: &str| {
        // The status of the binary, not of the pipe's end.
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
    let (host, port) = place();
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
    is_whole(&file);
}

#[test]
fn a_health_check_is_told_by_its_status() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("signup.db").display());
    let (host, port) = place();
    let settings = [
        ("DATABASE_URL", url.as_str()),
        ("HOST", host.as_str()),
        ("PORT", port.as_str()),
        ("BCRYPT_COST", "4"),
    ];
    let asked = &settings[1..3];
    let mut service = start(&["serve"], &settings, Stdin, Closed);
    wait_for(&mut service, (&host, &port), "/health", 200);
    for (stream, state) in everything() {
        if (stream, state) != (Stdout, Stuck) {
            let code = start(&["healthcheck"], asked, stream, state).code();
            assert_eq!(code, 0, "{stream:?} {state:?}");
        }
    }
    service.signal("TERM");
    assert_eq!(service.code(), 0);
    for (stream, state) in everything() {
        let code = start(&["healthcheck"], asked, stream, state).code();
        assert_eq!(code, 1, "{stream:?} {state:?}");
    }
}

/// Waits until the service responds so to this path.
fn wait_for(service: &mut Process, (host, port): (&str, &str), path: &str, status: u16) {
    let begun = Instant::now();
    let expected = format!("HTTP/1.1 {status} ");
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(format!("{host}:{port}"))?;
        let head = format!("Host: {host}:{port}\r\nConnection: close");
        stream.write_all(format!("GET {path} HTTP/1.1\r\n{head}\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    while !ask().is_ok_and(|answer| answer.starts_with(&expected)) {
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
    let (host, port) = place();
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
    // Two at once would be one.
    wait_for(&mut service, (&host, &port), "/ready", 503);
    service.signal("TERM");
    assert_eq!(service.code(), 130);
}

/// A refusal to start is told by the exit status where nobody reads it.
#[test]
fn a_service_that_cannot_start_says_so_by_its_status() {
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
