//! One connection.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

/// The largest head or body of an answer.
const MAX_BYTES: usize = 4 << 20;

/// Where requests go.
#[derive(Debug, Clone)]
pub struct Target {
    /// The address to connect to.
    pub address: SocketAddr,
    /// What to say in `Host`.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// The address to come from; `None` for whichever the system takes.
    pub from: Option<IpAddr>,
}

impl Target {
    /// Takes a URL with `http`.
    ///
    /// # Errors
    /// When it is no such URL, or its host has no address.
    pub fn parse(url: &str) -> Result<Self, String> {
        let rest = url
            .strip_prefix("http://")
            .ok_or_else(|| format!("{url} does not begin with http://"))?;
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let address = host
            .to_socket_addrs()
            .ok()
            .and_then(|mut addresses| addresses.next())
            .ok_or_else(|| format!("{host} is no host with a port"))?;
        Ok(Self {
            address,
            host: host.to_owned(),
            path: path.to_owned(),
            from: None,
        })
    }

    /// The same, for a client that comes from this address of the machine. Of a loopback, all of
    /// `127.0.0.0/8` are.
    #[must_use]
    pub fn from(&self, address: IpAddr) -> Self {
        Self {
            from: Some(address),
            ..self.clone()
        }
    }

    /// A POST of this body. `headers` are whole lines, without their ends.
    #[must_use]
    pub fn post(&self, content_type: &str, headers: &[String], body: &str) -> Vec<u8> {
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n",
            self.path,
            self.host,
            body.len()
        );
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        (head + "\r\n" + body).into_bytes()
    }

    /// A GET of this path.
    #[must_use]
    pub fn get(&self, path: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host).into_bytes()
    }
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
    /// Whether the connection may be used again.
    pub keeps_alive: bool,
}

/// An open connection, with no request on it.
#[derive(Debug)]
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn open(target: &Target) -> io::Result<Self> {
        let stream = match target.from {
            None => TcpStream::connect(target.address).await?,
            Some(from) => {
                let socket = match from {
                    IpAddr::V4(_) => TcpSocket::new_v4()?,
                    IpAddr::V6(_) => TcpSocket::new_v6()?,
                };
                socket.bind((from, 0).into())?;
                socket.connect(target.address).await?
            }
        };
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a request and leaves, without waiting for the answer.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn send_and_leave(mut self, request: &[u8], after: Duration) -> io::Result<()> {
        self.0.write_all(request).await?;
        tokio::time::sleep(after).await;
        Ok(())
    }

    /// Sends a request and reads its answer.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is no answer.
    pub async fn send(&mut self, request: &[u8]) -> io::Result<Response> {
        self.0.write_all(request).await?;
        let line = self.line().await?;
        let mut words = line.split(' ');
        let version = words.next().unwrap_or_default().to_owned();
        let status = words.next().and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| no_answer("it has no status"))?;
        let mut keeps_alive = version == "HTTP/1.1";
        let (mut length, mut is_chunked) = (None, false);
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().ok(),
                "transfer-encoding" => is_chunked = value.eq_ignore_ascii_case("chunked"),
                "connection" => keeps_alive &= !value.eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        let mut body = Vec::new();
        if is_chunked {
            self.chunks(&mut body).await?;
        } else if let Some(length) = length {
            self.bytes(length, &mut body).await?;
        } else {
            keeps_alive = false;
            (&mut self.0)
                .take(MAX_BYTES as u64)
                .read_to_end(&mut body)
                .await?;
        }
        Ok(Response {
            status,
            body,
            keeps_alive,
        })
    }

    async fn chunks(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let line = self.line().await?;
            let length = line.split(';').next().unwrap_or_default().trim();
            let length = usize::from_str_radix(length, 16);
            let length = length.map_err(|_| no_answer("a chunk has no length"))?;
            self.bytes(length, body).await?;
            self.line().await?;
            if length == 0 {
                return Ok(());
            }
        }
    }

    async fn bytes(&mut self, length: usize, body: &mut Vec<u8>) -> io::Result<()> {
        let begin = body.len();
        if length > MAX_BYTES - begin.min(MAX_BYTES) {
            return Err(no_answer("its body is too large"));
        }
        body.resize(begin + length, 0);
        self.0.read_exact(&mut body[begin..]).await?;
        Ok(())
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        let mut limited = (&mut self.0).take(MAX_BYTES as u64);
        if limited.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

fn no_answer(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
