//! Connections that try to exhaust memory, and reconnect whenever the service closes them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// The behaviour of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sends one request, and stays open.
    Idle,
    /// Sends the longest head, reads a large response, and stays open: the buffers for both have grown.
    Grown,
    /// Sends a signup followed by as many small requests as possible. Their bodies hide where one ends.
    Pipelining,
    /// Requests the largest responses, and reads none.
    NotReading,
    /// Sends the largest body, except for its end.
    HardlyWriting,
}

/// Connections that attack until stopped.
pub struct Attack {
    connections: JoinSet<()>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    made: AtomicUsize,
    sent: AtomicUsize,
}

/// The progress of an attack.
pub struct Reached {
    made: usize,
    sent: usize,
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.sent / (1024 * 1024);
        write!(f, "{} connections made, {mib} MiB sent", self.made)
    }
}

pub fn start(address: SocketAddr, kinds: &[(Kind, usize)]) -> Attack {
    let counts = Arc::new(Counts::default());
    let mut connections = JoinSet::new();
    for &(kind, count) in kinds {
        for number in 0..count {
            let counts = Arc::clone(&counts);
            connections.spawn(async move {
                loop {
                    // A closed connection is reopened a moment later.
                    let _ = attack(address, kind, number, &counts).await;
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            });
        }
    }
    Attack {
        connections,
        counts,
    }
}

impl Attack {
    pub async fn stop(mut self) -> Reached {
        self.connections.shutdown().await;
        Reached {
            made: self.counts.made.load(Relaxed),
            sent: self.counts.sent.load(Relaxed),
        }
    }
}

async fn attack(
    address: SocketAddr,
    kind: Kind,
    number: usize,
    counts: &Counts,
) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    if kind == Kind::NotReading {
        socket.set_recv_buffer_size(2048)?;
    }
    let mut stream = socket.connect(address).await?;
    counts.made.fetch_add(1, Relaxed);
    let send = async |stream: &mut TcpStream, bytes: &[u8]| {
        stream.write_all(bytes).await?;
        counts.sent.fetch_add(bytes.len(), Relaxed);
        std::io::Result::Ok(())
    };
    let mut scratch = [0; 4096];
    match kind {
        Kind::Idle => {
            send(
                &mut stream,
                b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
            )
            .await?;
            while stream.read(&mut scratch).await? > 0 {}
        }
        Kind::Grown => {
            let long = "a".repeat(31 * 1024);
            let request =
                format!("GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nX-Long: {long}\r\n\r\n");
            send(&mut stream, request.as_bytes()).await?;
            while stream.read(&mut scratch).await? > 0 {}
        }
        Kind::Pipelining => {
            let body =
                format!(r#"{{"name":"A","email":"a{number}@b.org","password":"corr3ct-horse-9"}}"#);
            let signup = format!(
                "POST /signup HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            send(&mut stream, signup.as_bytes()).await?;
            let small =
                "GET / HTTP/1.1\r\nHost:localhost\r\nContent-Length:3\r\n\r\nx\ny".repeat(80);
            loop {
                send(&mut stream, small.as_bytes()).await?;
                // Limited to 200 kB a second each, to leave capacity on this machine.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Kind::NotReading => {
            let request = "GET /users?limit=100 HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(8);
            send(&mut stream, request.as_bytes()).await?;
            // Ends when the service closes the connection, which only a write detects.
            loop {
                tokio::time::sleep(Duration::from_millis(200)).await;
                send(&mut stream, b"GET").await?;
            }
        }
        Kind::HardlyWriting => {
            let head = "POST /signup HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: 16384\r\n\r\n";
            send(&mut stream, head.as_bytes()).await?;
            send(&mut stream, &[b' '; 16_000]).await?;
            loop {
                tokio::time::sleep(Duration::from_millis(200)).await;
                send(&mut stream, b" ").await?;
            }
        }
    }
    Ok(())
}
