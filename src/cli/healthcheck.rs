//! `healthcheck`: requests `/health` of the running service.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{Failure, reachable, terminal};
use crate::config::HttpSettings;
use crate::platform::clock;

const LIMIT: Duration = Duration::from_secs(3);

/// Succeeds if the service responds that it is healthy.
pub fn run(http: &HttpSettings) -> Result<(), Failure> {
    let listener = http
        .operations
        .unwrap_or_else(|| SocketAddr::new(http.host, http.port));
    let address = reachable(listener);
    let response = request(address)
        .map_err(|error| Failure::new(&format!("no response from {address}: {error}")))?;
    if response.starts_with("HTTP/1.1 200 ") {
        // For people; scripts use the exit status.
        terminal::progress(&format!("healthy: {address}"));
        return Ok(());
    }
    let status = response.lines().next().unwrap_or("an empty response");
    Err(Failure::new(&format!(
        "not healthy: {address} returned {status}"
    )))
}

fn request(address: SocketAddr) -> std::io::Result<String> {
    let end = clock::monotonic() + LIMIT;
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(
        format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    // Only the status line counts; another program on this port may send anything, at any pace.
    let mut response = Vec::new();
    let mut buffer = [0; 256];
    while !response.contains(&b'\n') && response.len() < 4096 {
        let rest = end.saturating_duration_since(clock::monotonic());
        if rest.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(rest))?;
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        response.extend_from_slice(&buffer[..count]);
    }
    Ok(String::from_utf8_lossy(&response).into_owned())
}
