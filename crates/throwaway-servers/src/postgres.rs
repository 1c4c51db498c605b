//! PostgreSQL: [`server`] starts it once, and each test uses its own [`Database`].

use std::io::{self, Write};
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::process::{free_port, retry_while_taken, signal, watch};

const START_LIMIT: Duration = Duration::from_mins(1);

/// The message for a machine without PostgreSQL.
const MISSING: &str = "the programs of a PostgreSQL server (initdb, postgres, psql) were not found.\n\
    Install PostgreSQL 15 or newer, or run `make test`, which does it on Debian and Ubuntu.\n\
    If they are in an unusual place, set PG_BIN to their folder.";

/// A running server.
pub struct Server {
    bin: PathBuf,
    folder: PathBuf,
    port: u16,
    owner: Option<Owner>,
    process: Mutex<Child>,
    /// Open for as long as this process lives: the watchdog acts when it closes.
    _watchdog: ChildStdin,
    databases: AtomicU32,
}

/// The account that runs the server if this process is root: PostgreSQL refuses root.
#[derive(Debug, Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
}

/// A database for one test, dropped from the server with this value.
pub struct Database {
    server: &'static Server,
    name: String,
}

/// Returns the server of this process; the first call starts it.
///
/// # Panics
/// With a message for users if PostgreSQL is missing or does not start.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| match Server::start() {
        Ok(server) => server,
        Err(error) => panic!("\n\nNo PostgreSQL for the tests: {error}\n"),
    })
}

impl Server {
    /// Starts a separate server, for a test that stops or kills it.
    ///
    /// # Errors
    /// If PostgreSQL is missing or does not start.
    pub fn start() -> io::Result<Self> {
        retry_while_taken(Self::start_on_a_free_port)
    }

    fn start_on_a_free_port() -> io::Result<Self> {
        let bin = find_programs().ok_or_else(|| io::Error::other(MISSING))?;
        let owner = account()?;
        let folder = tempfile::Builder::new()
            .prefix("throwaway-postgres-")
            .tempdir()?
            .keep();
        if let Some(owner) = owner {
            chown(&folder, Some(owner.uid), Some(owner.gid))?;
        }
        let data = folder.join("data");
        let made = command(&bin, "initdb", owner)
            .arg("--pgdata")
            .arg(&data)
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync", "--no-instructions"])
            .current_dir(&folder)
            .output()?;
        if !made.status.success() {
            return Err(io::Error::other(
                String::from_utf8_lossy(&made.stderr).into_owned(),
            ));
        }
        let port = free_port()?;
        let process = run(&bin, &folder, port, owner)?;
        let watchdog = watch(&process, &folder)?;
        let server = Self {
            bin,
            folder,
            port,
            owner,
            process: Mutex::new(process),
            _watchdog: watchdog,
            databases: AtomicU32::new(0),
        };
        server.wait_until_ready()?;
        Ok(server)
    }

    /// Creates a database.
    ///
    /// # Panics
    /// If the server refuses.
    pub fn database(&'static self) -> Database {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        Database { server: self, name }
    }

    /// The address it listens on.
    pub fn address(&self) -> std::net::SocketAddr {
        (std::net::Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The URL of a database of this server.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs statements and returns their output: rows of `|`-separated values.
    ///
    /// # Panics
    /// If a statement fails.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        let mut psql = command(&self.bin, "psql", self.owner)
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"])
            .args(["--set=ON_ERROR_STOP=1", "--username=postgres"])
            .args(["--host=127.0.0.1", &format!("--port={}", self.port)])
            .arg(format!("--dbname={database}"))
            .current_dir(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql starts");
        let mut stdin = psql.stdin.take().expect("piped");
        stdin.write_all(statements.as_bytes()).expect("psql reads");
        drop(stdin);
        let output = psql.wait_with_output().expect("psql ends");
        assert!(
            output.status.success(),
            "{statements}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Sends a signal, by its name, to every process of the server.
    ///
    /// # Panics
    /// If there is none.
    pub fn signal(&self, name: &str) {
        let parent = self
            .process
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .id();
        signal(parent, name);
    }

    fn wait_until_ready(&self) -> io::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < START_LIMIT {
            let ended = self
                .process
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .try_wait()?;
            if ended.is_some() {
                let log = std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                let kind = if log.contains("Address already in use") {
                    io::ErrorKind::AddrInUse
                } else {
                    io::ErrorKind::Other
                };
                let text = format!("the server ended at once:\n{log}");
                return Err(io::Error::new(kind, text));
            }
            // Through its own socket: on the port, another server might respond.
            let ready = command(&self.bin, "pg_isready", self.owner)
                .arg(format!("--host={}", self.folder.display()))
                .arg(format!("--port={}", self.port))
                .current_dir(&self.folder)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            let is_ready = match ready {
                Ok(status) => status.success(),
                Err(_) => TcpStream::connect(("127.0.0.1", self.port)).is_ok(),
            };
            if is_ready {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(io::Error::other("the server did not respond in time"))
    }
}

impl Database {
    /// The URL of the database.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// The name of the database.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs statements in it; see [`Server::sql`].
    #[must_use]
    pub fn sql(&self, statements: &str) -> String {
        self.server.sql(&self.name, statements)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // A failed test may have left the server stopped, and would wait here for ever. The
        // database goes with the server.
        if std::thread::panicking() {
            return;
        }
        let name = &self.name;
        self.server.sql(
            "postgres",
            &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"),
        );
    }
}

fn run(bin: &Path, folder: &Path, port: u16, owner: Option<Owner>) -> io::Result<Child> {
    let log = std::fs::File::create(folder.join("log"))?;
    command(bin, "postgres", owner)
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-p", &port.to_string()])
        .args(["-c", "listen_addresses=127.0.0.1"])
        .arg("-c")
        .arg(format!("unix_socket_directories={}", folder.display()))
        .args(["-c", "max_connections=500", "-c", "fsync=off"])
        .args(["-c", "log_min_messages=warning"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
}

fn command(bin: &Path, program: &str, owner: Option<Owner>) -> Command {
    let mut command = Command::new(bin.join(program));
    command.env_remove("PGHOST").env_remove("PGPORT");
    command.env_remove("PGDATABASE").env_remove("PGUSER");
    if let Some(owner) = owner {
        command.uid(owner.uid).gid(owner.gid);
    }
    command
}

#[expect(
    clippy::disallowed_methods,
    reason = "the location of programs depends on the machine and is not a setting"
)]
fn find_programs() -> Option<PathBuf> {
    let named = std::env::var_os("PG_BIN").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = named.into_iter().collect();
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    folders.extend(versions.into_iter().map(|(_, folder)| folder));
    folders.extend(std::env::split_paths(&path));
    folders.into_iter().find(|folder| {
        ["initdb", "postgres", "psql"]
            .iter()
            .all(|program| folder.join(program).is_file())
    })
}

/// The user and group that run servers which refuse root; `None` if this process is not root.
pub(crate) fn owner() -> io::Result<Option<(u32, u32)>> {
    Ok(account()?.map(|owner| (owner.uid, owner.gid)))
}

fn account() -> io::Result<Option<Owner>> {
    use std::os::unix::fs::MetadataExt;
    let own_uid = std::fs::metadata("/proc/self").map_or(1, |metadata| metadata.uid());
    if own_uid != 0 {
        return Ok(None);
    }
    let accounts = std::fs::read_to_string("/etc/passwd")?;
    ["postgres", "nobody"]
        .iter()
        .find_map(|name| {
            let mut fields = accounts
                .lines()
                .map(|line| line.split(':'))
                .find(|fields| fields.clone().next() == Some(name))?;
            Some(Owner {
                uid: fields.nth(2)?.parse().ok()?,
                gid: fields.next()?.parse().ok()?,
            })
        })
        .map(Some)
        .ok_or_else(|| io::Error::other("this is root, and there is no account postgres or nobody"))
}
