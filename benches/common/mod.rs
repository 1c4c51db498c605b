//! Helpers shared by the benchmarks: the service as a process, a description of the machine, the report file.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Why a benchmark could not run.
pub type Failure = Box<dyn std::error::Error>;

/// Writes a report to `target/bench`.
pub fn write_json(name: &str, report: &Value) -> Result<(), Failure> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(
        folder.join(format!("{name}.json")),
        serde_json::to_string_pretty(report)? + "\n",
    )?;
    println!("written: target/bench/{name}.json");
    Ok(())
}

/// Describes the machine in one line: figures mean nothing without it.
pub fn machine() -> String {
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    format!("{model}, {} cores", threads())
}

/// The number of cores.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// A server process, killed when dropped.
pub struct Server {
    /// The process itself.
    pub process: Child,
    /// Where it listens, as `address:port`.
    pub address: String,
}

impl Server {
    /// Starts the service as it ships: all middleware, logs at `info`, metrics.
    pub fn service(url: &str, log: &Path, settings: &[(&str, &str)]) -> Result<Self, Failure> {
        let process = Command::new(env!("CARGO_BIN_EXE_signup-service"))
            .env_clear()
            .env("DATABASE_URL", url)
            .env("PORT", "0")
            .env("LOG_FORMAT", "json")
            .env("IDEMPOTENCY_SECRET", "a secret of thirty-two bytes or more")
            .env("AUTH_SECRET", "a secret of thirty-two bytes or more")
            .env("READS", "open")
            .env("EMAIL_VERIFICATION", "off")
            .env("ADMIN_PORT", "0")
            .env("RUST_LOG", "info")
            .envs(settings.iter().copied())
            .stdout(std::fs::File::create(log)?)
            .spawn()?;
        let mut server = Self {
            process,
            address: String::new(),
        };
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            let ready = std::fs::read_to_string(log)?
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find_map(|line| Some(line["address"].as_str()?.to_owned()));
            if let Some(address) = ready {
                server.address = address;
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err("the service did not start".into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Migrates a database.
pub fn migrate(url: &str) -> Result<(), Failure> {
    let status = Command::new(env!("CARGO_BIN_EXE_signup-service"))
        .arg("migrate")
        .env_clear()
        .env("DATABASE_URL", url)
        .stdout(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err("the migrations failed".into())
    }
}
