//! Raw connections, for bytes that no HTTP client would send.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(30);

/// The interval for polling a condition.
const POLL: Duration = Duration::from_millis(20);

/// A connection to the service.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// A response read from a connection.
#[derive(Debug)]
pub struct RawResponse {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Connection {
    pub fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the service listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a time limit");
        Self {
            stream,
            received: Vec::new(),
        }
    }

    /// Writes bytes; ignores errors, as the service may have closed the connection.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.stream.write_all(bytes.as_ref());
        self
    }

    /// Writes the bytes repeatedly, until the time is over or the service accepts no more; returns the number of bytes
    /// written.
    pub fn send_for(&mut self, time: Duration, bytes: &[u8]) -> usize {
        self.stream
            .set_write_timeout(Some(time))
            .expect("a time limit");
        let begun = Instant::now();
        let many = bytes.repeat(1_000);
        let mut sent = 0;
        while begun.elapsed() < time
            && let Ok(more) = self.stream.write(&many[sent % many.len()..])
        {
            sent += more;
        }
        sent
    }

    /// Whether the service closes the connection within the time, without its responses being read.
    pub fn is_cut(&mut self, within: Duration) -> bool {
        self.stream
            .set_write_timeout(Some(POLL))
            .expect("a time limit");
        let begun = Instant::now();
        while begun.elapsed() < within {
            match self.stream.write(b"x") {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return true,
                _ => std::thread::sleep(POLL),
            }
        }
        false
    }

    /// Reads one response; `None` if the connection closes without one.
    pub fn response(&mut self) -> Option<RawResponse> {
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
            assert!(self.read_more() > 0, "the response is cut: {head}");
        }
        let body = String::from_utf8_lossy(&self.received[head_end..head_end + length]).into();
        self.received.drain(..head_end + length);
        Some(RawResponse {
            status,
            headers,
            body,
        })
    }

    /// Whether bytes of a response, or the end of the connection, arrive within the time.
    pub fn has_response(&mut self, within: Duration) -> bool {
        self.stream
            .set_read_timeout(Some(within))
            .expect("a time limit");
        let mut byte = [0];
        let seen = self.stream.peek(&mut byte);
        self.stream
            .set_read_timeout(Some(LIMIT))
            .expect("a time limit");
        seen.is_ok()
    }

    /// Whether the service closes the connection without sending more.
    pub fn is_closed(&mut self) -> bool {
        self.received.is_empty() && self.read_more() == 0
    }

    fn read_more(&mut self) -> usize {
        let mut buffer = [0; 4096];
        // A reset is an end, too: the service closed with unread bytes of ours.
        let count = match self.stream.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no response in time"),
            result => result.unwrap_or(0),
        };
        self.received.extend_from_slice(&buffer[..count]);
        count
    }
}

impl RawResponse {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// Asserts that this is a problem of this kind, with ids, and returns its body.
    pub fn problem(&self, status: u16, slug: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let body: Value = serde_json::from_str(&self.body).expect("JSON");
        assert_eq!(body["type"], format!("/problems/{slug}"));
        assert_eq!(body["status"], status);
        assert_eq!(body["request_id"].as_str(), self.header("x-request-id"));
        assert!(self.header("x-correlation-id").is_some());
        body
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
