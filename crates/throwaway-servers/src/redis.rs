//! Redis: [`server`] starts it once, and each test uses its own [`Database`].

use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::process::{free_port, retry_while_taken, signal, watch};

const START_LIMIT: Duration = Duration::from_secs(30);

/// More than there are tests.
const DATABASES: u32 = 4096;

/// The message for a machine without Redis.
const MISSING: &str = "redis-server was not found.\n\
    Install Redis 7 or newer, or run `make test`, which does it on Debian and Ubuntu.";

/// A running server without persistence.
pub struct Server {
    port: u16,
    running: Mutex<Running>,
    databases: AtomicU32,
}

struct Running {
    process: Child,
    /// Open for as long as this process lives: the watchdog acts when it closes.
    _watchdog: ChildStdin,
}

/// A database for one test.
pub struct Database {
    server: &'static Server,
    number: u32,
}

/// Returns the server of this process; the first call starts it.
///
/// # Panics
/// With a message for users if Redis is missing or does not start.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| match Server::start() {
        Ok(server) => server,
        Err(error) => panic!("\n\nNo Redis for the tests: {error}\n"),
    })
}

impl Server {
    /// Starts a separate server, for a test that disturbs it.
    ///
    /// # Errors
    /// If Redis is missing or does not start.
    pub fn start() -> io::Result<Self> {
        retry_while_taken(|| {
            let port = free_port()?;
            Ok(Self {
                port,
                running: Mutex::new(Running::start(port)?),
                databases: AtomicU32::new(0),
            })
        })
    }

    /// An empty database.
    pub fn database(&'static self) -> Database {
        let number = self.databases.fetch_add(1, Ordering::Relaxed) % DATABASES;
        Database {
            server: self,
            number,
        }
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The URL of its first database.
    pub fn url(&self) -> String {
        format!("redis://{}/0", self.address())
    }

    /// Runs a command in its first database, and returns the output of `redis-cli`.
    ///
    /// # Panics
    /// If the command fails.
    pub fn command(&self, words: &[&str]) -> String {
        command(self.port, 0, words).expect("redis-cli succeeds")
    }

    /// Sends a signal, by its name.
    ///
    /// # Panics
    /// If the server has ended.
    pub fn signal(&self, name: &str) {
        signal(self.running().process.id(), name);
    }

    /// Kills the server; its data is lost.
    ///
    /// # Panics
    /// If it can't be killed.
    pub fn kill(&self) {
        let process = &mut self.running().process;
        process.kill().expect("a child");
        process.wait().expect("a child");
    }

    /// Restarts the server on the same port after [`Server::kill`].
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&self) {
        *self.running() = Running::start(self.port).expect("Redis restarts");
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Database {
    /// The URL of the database.
    pub fn url(&self) -> String {
        format!("redis://{}/{}", self.server.address(), self.number)
    }

    /// The names of its keys.
    ///
    /// # Panics
    /// If Redis does not respond.
    pub fn keys(&self) -> Vec<String> {
        let names = self.command(&["KEYS", "*"]);
        let names = names.lines().filter(|name| !name.is_empty());
        names.map(str::to_owned).collect()
    }

    /// Runs a command in it; see [`Server::command`].
    ///
    /// # Panics
    /// If the command fails.
    pub fn command(&self, words: &[&str]) -> String {
        command(self.server.port, self.number, words).expect("redis-cli succeeds")
    }
}

impl Running {
    fn start(port: u16) -> io::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("throwaway-redis-")
            .tempdir()?
            .keep();
        let log = folder.join("log");
        let output = std::fs::File::create(&log)?;
        let mut process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(["--databases", &DATABASES.to_string()])
            .arg("--dir")
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => io::Error::other(MISSING),
                _ => error,
            })?;
        let watchdog = watch(&process, &folder)?;
        let begun = Instant::now();
        while command(port, 0, &["PING"]).ok().as_deref() != Some("PONG") {
            if process.try_wait()?.is_some() || begun.elapsed() > START_LIMIT {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                let kind = if log.contains("Address already in use") {
                    io::ErrorKind::AddrInUse
                } else {
                    io::ErrorKind::Other
                };
                return Err(io::Error::new(kind, format!("it does not respond:\n{log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self {
            process,
            _watchdog: watchdog,
        })
    }
}

fn command(port: u16, database: u32, words: &[&str]) -> io::Result<String> {
    let output = Command::new("redis-cli")
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .args(["-n", &database.to_string()])
        .args(words)
        .output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(text.into_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
