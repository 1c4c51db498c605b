//! Bytes on a connection, for what no HTTP client would send.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// A connection to the service.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An answer that was read from a connection.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Connection {
    pub fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the service listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a time limit");
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// Writes; a service that has closed the connection already is not minded.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    /// Reads one answer; `None` where the connection closes without one.
    pub fn answer(&mut self) -> Option<Answer> {
        let head_end = loop {
            if let Some(at) = find(&self.received, b"\r\n\r\n") {
                break at + 4;
            }
            if self.read_more() == 0 {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&self.received[..head_end]).into_owned();
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length: usize = headers
            .iter()
            .find(|(name, _)| name == "content-length")
            .map_or(0, |(_, value)| value.parse().expect("a length"));
        while self.received.len() < head_end + length {
            assert!(self.read_more() > 0, "the answer is cut: {head}");
        }
        let body = String::from_utf8_lossy(&self.received[head_end..head_end + length]).into();
        self.received.drain(..head_end + length);
        Some(Answer {
            status,
            headers,
            body,
        })
    }

    /// Whether the service closes the connection now.
    pub fn is_closed(&mut self) -> bool {
        self.received.is_empty() && self.read_more() == 0
    }

    fn read_more(&mut self) -> usize {
        let mut buffer = [0; 4096];
        let count = self.stream.read(&mut buffer).unwrap_or(0);
        self.received.extend_from_slice(&buffer[..count]);
        count
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// Checks that this is a problem of this kind, with ids, and gives its body.
    pub fn problem(&self, status: u16, slug: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let body: Value = serde_json::from_str(&self.body).expect("JSON");
        assert_eq!(body["type"], format!("/problems/{slug}"));
        assert_eq!(body["status"], status);
        assert_eq!(body["request_id"].as_str(), self.header("x-request-id"));
        assert!(self.header("x-correlation-id").is_some());
        body
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
