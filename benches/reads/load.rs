//! The load generator: `wrk`, with a script that reads users at random.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::Failure;

/// The numbers of connections that the load generator keeps open, in turn.
pub const CONNECTIONS: [u32; 2] = [32, 128];

/// Users are numbered from 1; `bare::id` makes the same ids.
const SCRIPT: &str = r#"
local users = USERS
math.randomseed(20261126)
request = function()
  local user = math.random(users)
  return wrk.format("GET", string.format("/users/00000000-0000-7000-8000-%012x", user))
end
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\nRESULT {"requests":%d,"micros":%d,"p50":%d,"p99":%d,"errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"#;

/// What one round of load measured.
pub struct Round {
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// Checks that the load generator is installed.
pub fn check() -> Result<(), Failure> {
    Command::new("wrk")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map(|_| ())
        .map_err(|_| {
            "wrk was not found; install it (Debian and Ubuntu: apt-get install wrk)".into()
        })
}

/// Writes the script for a number of users.
pub fn write_script(folder: &Path, users: u128) -> Result<PathBuf, Failure> {
    let path = folder.join("reads.lua");
    std::fs::write(&path, SCRIPT.replace("USERS", &users.to_string()))?;
    Ok(path)
}

/// Runs one round of load.
pub fn round(
    address: &str,
    bearer: Option<&str>,
    script: &Path,
    connections: u32,
    seconds: u32,
) -> Result<Round, Failure> {
    let header = bearer.map(|token| format!("Authorization: Bearer {token}"));
    let output = Command::new("wrk")
        .args(header.iter().flat_map(|header| ["-H", header]))
        .arg("-t1")
        .arg(format!("-c{connections}"))
        .arg(format!("-d{seconds}s"))
        .arg("-s")
        .arg(script)
        .arg(format!("http://{address}"))
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let result = text
        .lines()
        .find_map(|line| line.strip_prefix("RESULT "))
        .ok_or_else(|| format!("wrk printed no result: {text}"))?;
    let result: Value = serde_json::from_str(result)?;
    let number = |name: &str| result[name].as_f64().unwrap_or(f64::NAN);
    if number("errors") > 0.0 {
        return Err(format!("{} failed requests", number("errors")).into());
    }
    Ok(Round {
        per_second: number("requests") / number("micros") * 1e6,
        p50_ms: number("p50") / 1e3,
        p99_ms: number("p99") / 1e3,
    })
}
