//! `PgBouncer` in front of a throwaway PostgreSQL server.

use std::io;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::postgres::{Server, owner};
use crate::process::{free_port, retry_while_taken, watch};

const START_LIMIT: Duration = Duration::from_secs(30);

/// When a client's session returns to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// When the client disconnects.
    Session,
    /// After each transaction.
    Transaction,
}

/// A running pooler; stopped when dropped.
pub struct Pooler {
    port: u16,
    process: Child,
    _watchdog: ChildStdin,
}

impl Pooler {
    /// Starts a pooler in front of this server.
    ///
    /// # Errors
    /// If `PgBouncer` is missing or does not start.
    pub fn start(server: &Server, mode: Mode) -> io::Result<Self> {
        retry_while_taken(|| Self::start_on_a_free_port(server, mode))
    }

    fn start_on_a_free_port(server: &Server, mode: Mode) -> io::Result<Self> {
        let program = find_program()?;
        let port = free_port()?;
        let folder = tempfile::Builder::new()
            .prefix("throwaway-pgbouncer-")
            .tempdir()?
            .keep();
        let mode = match mode {
            Mode::Session => "session",
            Mode::Transaction => "transaction",
        };
        let settings = folder.join("pgbouncer.ini");
        let log = folder.join("log");
        std::fs::write(
            &settings,
            format!(
                "[databases]\n\
                 * = host=127.0.0.1 port={} user=postgres\n\
                 [pgbouncer]\n\
                 listen_addr = 127.0.0.1\n\
                 listen_port = {port}\n\
                 unix_socket_dir =\n\
                 auth_type = any\n\
                 pool_mode = {mode}\n\
                 logfile = {}\n",
                server.address().port(),
                log.display(),
            ),
        )?;
        let mut command = Command::new(program);
        // It refuses root, as PostgreSQL does.
        if let Some((uid, gid)) = owner()? {
            chown(&folder, Some(uid), Some(gid))?;
            command.uid(uid).gid(gid);
        }
        let process = command
            .arg("--quiet")
            .arg(&settings)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let watchdog = watch(&process, &folder)?;
        let mut pooler = Self {
            port,
            process,
            _watchdog: watchdog,
        };
        pooler.wait_until_it_listens(&log)?;
        Ok(pooler)
    }

    fn wait_until_it_listens(&mut self, log: &Path) -> io::Result<()> {
        let begun = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if self.process.try_wait()?.is_some() || begun.elapsed() > START_LIMIT {
                let log = std::fs::read_to_string(log).unwrap_or_default();
                let kind = if log.contains("ddress already in use") {
                    io::ErrorKind::AddrInUse
                } else {
                    io::ErrorKind::Other
                };
                return Err(io::Error::new(kind, format!("it does not listen:\n{log}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The URL of a database of its server, through the pooler.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the location of programs depends on the machine and is not a setting"
)]
fn find_program() -> io::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian installs it in a folder that may be missing from PATH.
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin")])
        .map(|folder| folder.join("pgbouncer"))
        .find(|program| program.is_file())
        .ok_or_else(|| {
            io::Error::other(
                "the program pgbouncer was not found: install PgBouncer, or run `make test`, which \
                 does it on Debian and Ubuntu",
            )
        })
}
