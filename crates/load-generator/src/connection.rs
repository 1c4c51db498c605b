//! A client connection.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

/// The largest head or body of a response, in bytes.
const MAX_BYTES: usize = 4 << 20;

/// Where requests go.
#[derive(Debug, Clone)]
pub struct Target {
    /// The address to connect to.
    pub address: SocketAddr,
    /// The value of `Host`.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// The source address; `None` lets the system choose.
    pub from: Option<IpAddr>,
}

impl Target {
    /// Parses a URL with the scheme `http`.
    ///
    /// # Errors
    /// If the URL is invalid, or its host has no address.
    pub fn parse(url: &str) -> Result<Self, String> {
        let rest = url
            .strip_prefix("http://")
            .ok_or_else(|| format!("{url} does not begin with http://"))?;
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let address = host
            .to_socket_addrs()
            .ok()
            .and_then(|mut addresses| addresses.next())
            .ok_or_else(|| format!("{host} is not a host with a port"))?;
        Ok(Self {
            address,
            host: host.to_owned(),
            path: path.to_owned(),
            from: None,
        })
    }

    /// The same target with a source address, which must be one of the machine's. On the loopback device, all of
    /// `127.0.0.0/8` are.
    #[must_use]
    pub fn from(&self, address: IpAddr) -> Self {
        Self {
            from: Some(address),
            ..self.clone()
        }
    }

    /// A POST of a body. `headers` are whole lines, without line ends.
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

    /// A GET of a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.host).into_bytes()
    }
}

/// A response.
#[derive(Debug)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
    /// Whether the connection can be reused.
    pub keeps_alive: bool,
}

/// An open connection with no request in flight.
#[derive(Debug)]
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If no server listens.
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

    /// Sends a request and disconnects after a time, without reading the response.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn send_and_leave(mut self, request: &[u8], after: Duration) -> io::Result<()> {
        self.0.write_all(request).await?;
        tokio::time::sleep(after).await;
        Ok(())
    }

    /// Sends a request and reads its response.
    ///
    /// # Errors
    /// If the connection breaks, or the response is invalid.
    pub async fn send(&mut self, request: &[u8]) -> io::Result<Response> {
        self.0.write_all(request).await?;
        let line = self.line().await?;
        let mut words = line.split(' ');
        let version = words.next().unwrap_or_default().to_owned();
        let status = words.next().and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| invalid_response("it has no status"))?;
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
            let length = length.map_err(|_| invalid_response("a chunk has no length"))?;
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
            return Err(invalid_response("its body is too large"));
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

fn invalid_response(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
