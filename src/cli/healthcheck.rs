//! `healthcheck`: asks `/health` of the running service.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{Failure, reachable, terminal};
use crate::config::HttpSettings;
use crate::platform::clock;

const LIMIT: Duration = Duration::from_secs(3);

/// Exits well if the service says that it lives.
pub fn ask(http: &HttpSettings) -> Result<(), Failure> {
    let listener = http
        .operations
        .unwrap_or_else(|| SocketAddr::new(http.host, http.port));
    let address = reachable(listener);
    let answer = request(address)
        .map_err(|error| Failure::new(&format!("no answer from {address}: {error}")))?;
    if answer.starts_with("HTTP/1.1 200 ") {
        // The exit status says it; the line is for people.
        terminal::progress(&format!("healthy: {address}"));
        return Ok(());
    }
    let status = answer.lines().next().unwrap_or("an empty answer");
    Err(Failure::new(&format!(
        "not healthy: {address} says {status}"
    )))
}

fn request(address: SocketAddr) -> std::io::Result<String> {
    let end = clock::monotonic() + LIMIT;
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(
        format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    // The status line is what counts; a stranger on this port may say anything, as slowly as it
    // likes.
    let mut answer = Vec::new();
    let mut buffer = [0; 256];
    while !answer.contains(&b'\n') && answer.len() < 4096 {
        let rest = end.saturating_duration_since(clock::monotonic());
        if rest.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(rest))?;
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..count]);
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
