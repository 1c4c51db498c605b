//! The service as a process on its own database, and a client that measures it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::Connection as _;
use tempfile::TempDir;

const SECRET: &str = "a secret of thirty-two bytes or more";

/// Where the accounts are.
pub enum Database {
    /// In a folder.
    Sqlite(TempDir),
    /// On the server of this process.
    Postgres(throwaway_servers::postgres::Database),
}

impl Database {
    /// A new one on SQLite.
    pub fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().expect("a folder"))
    }

    /// A new one on PostgreSQL.
    pub fn postgres() -> Self {
        Self::Postgres(throwaway_servers::postgres::server().database())
    }

    fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => {
                format!("sqlite://{}", folder.path().join("signup.db").display())
            }
            Self::Postgres(database) => database.url(),
        }
    }

    /// Runs a statement around the service.
    pub async fn execute(&self, statement: &'static str) {
        let statement = sqlx::raw_sql(statement);
        match self {
            Self::Sqlite(_) => {
                let connection = sqlx::SqliteConnection::connect(&self.url()).await;
                let mut connection = connection.expect("opens");
                statement.execute(&mut connection).await.expect("changed");
            }
            Self::Postgres(_) => {
                let connection = sqlx::PgConnection::connect(&self.url()).await;
                let mut connection = connection.expect("connects");
                statement.execute(&mut connection).await.expect("changed");
            }
        }
    }
}

/// A running service, killed when dropped.
pub struct Service {
    address: SocketAddr,
    process: Child,
}

impl Service {
    /// Starts it with this cost of new hashes.
    pub fn start(database: &Database, cost: &str) -> Self {
        Self::start_with(database, cost, &[])
    }

    /// The same, with more settings.
    pub fn start_with(database: &Database, cost: &str, more: &[(&str, &str)]) -> Self {
        let url = database.url();
        let mut process = Command::new(env!("CARGO_BIN_EXE_signup-service"))
            .env_clear()
            .envs(throwaway_servers::counters())
            .envs([
                ("DATABASE_URL", url.as_str()),
                ("DATABASE_MIGRATE", "true"),
                ("PORT", "0"),
                ("BCRYPT_COST", cost),
                ("LOG_FORMAT", "json"),
                ("RATE_LIMIT_LOGIN", "off"),
                // Some accounts may not log in for it.
                ("EMAIL_VERIFICATION", "required"),
                ("MAIL_URL", "console"),
                ("RATE_LIMIT_MAIL", "off"),
                ("IDEMPOTENCY_SECRET", SECRET),
                ("AUTH_SECRET", SECRET),
            ])
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // The mails.
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let line: Value = serde_json::from_str(&line).ok()?;
            line["address"].as_str()?.parse().ok()
        });
        // So that the process does not block.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            address: address.expect("it starts"),
            process,
        }
    }

    /// Signs up these addresses, some at once.
    pub fn sign_up(&self, emails: &[String]) {
        std::thread::scope(|scope| {
            for part in emails.chunks(emails.len().div_ceil(4).max(1)) {
                scope.spawn(move || {
                    let mut client = Client::to(self);
                    for email in part {
                        let body = json!({
                            "name": "Ada Lovelace",
                            "email": email,
                            "password": "correct horse battery staple",
                        });
                        let response = client.post("/signup", &body);
                        assert_eq!(response.status, 201, "{}", response.body);
                    }
                });
            }
        });
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A client with one connection. It does as little as possible, so that it adds no noise.
pub struct Client {
    stream: TcpStream,
}

/// A response, and what it took.
pub struct Response {
    /// Its status.
    pub status: u16,
    /// The names of its headers, in their order.
    pub headers: Vec<String>,
    /// Its body.
    pub body: String,
    /// From the first byte sent to the last one received.
    pub time: Duration,
}

impl Client {
    /// Connects.
    pub fn to(service: &Service) -> Self {
        let stream = TcpStream::connect(service.address).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        let limit = Some(Duration::from_secs(30));
        stream.set_read_timeout(limit).expect("a socket");
        Self { stream }
    }

    /// Sends a body, and receives the whole response.
    pub fn post(&mut self, path: &str, body: &Value) -> Response {
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let begun = Instant::now();
        self.stream.write_all(request.as_bytes()).expect("sent");
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let count = self.stream.read(&mut buffer).expect("a response in time");
            assert!(count > 0, "the connection was closed");
            bytes.extend_from_slice(&buffer[..count]);
            if let Some(response) = parse(&bytes, begun.elapsed()) {
                return response;
            }
        }
    }
}

/// A whole response, if it is one.
fn parse(bytes: &[u8], time: Duration) -> Option<Response> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (status, lines) = head.split_once("\r\n")?;
    let headers: Vec<(&str, &str)> = lines
        .lines()
        .filter_map(|line| line.split_once(": "))
        .collect();
    let length = headers.iter().find(|(name, _)| *name == "content-length")?;
    (body.len() >= length.1.parse().ok()?).then(|| Response {
        status: status.split(' ').nth(1).unwrap_or("0").parse().unwrap_or(0),
        headers: headers.iter().map(|(name, _)| (*name).to_owned()).collect(),
        body: body.to_owned(),
        time,
    })
}
