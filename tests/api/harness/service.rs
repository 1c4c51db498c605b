//! The service as a process.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;

use super::raw::Connection;
use super::{Backend, Database, counters, login_body, signup_body};

const LIMIT: Duration = Duration::from_secs(30);

/// The interval for polling a condition.
const POLL: Duration = Duration::from_millis(5);

/// A running service, killed when dropped.
pub struct Service {
    pub address: SocketAddr,
    pub database: Arc<Database>,
    pub client: Client,
    process: Child,
    log: Arc<Mutex<Vec<String>>>,
}

/// The output and exit status of a command.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

fn command(arguments: &[&str], settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signup-service"));
    command.env_clear().envs(counters()).args(arguments);
    command.envs(super::DEFAULTS);
    command.envs(settings.iter().copied());
    command
}

/// Runs a command of the binary to completion.
pub fn run(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    run_with_input(arguments, settings, "")
}

/// The same, with this text on its standard input.
pub fn run_with_input(arguments: &[&str], settings: &[(&str, &str)], input: &str) -> Output {
    let mut process = command(arguments, settings)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdin = process.stdin.take().expect("piped");
    // A command that does not read it may have ended.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = process.wait_with_output().expect("it ends");
    Output {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Starts a command of the binary without waiting for its end.
pub fn start_command(arguments: &[&str], settings: &[(&str, &str)]) -> Child {
    command(arguments, settings)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs")
}

impl Service {
    /// Starts the service on a new database.
    pub async fn start(backend: Backend) -> Self {
        Self::start_with(backend, &[]).await
    }

    /// Like [`start`](Self::start), with settings.
    pub async fn start_with(backend: Backend, settings: &[(&str, &str)]) -> Self {
        Self::start_on(Arc::new(Database::new(backend)), settings).await
    }

    /// Starts the service on an existing database.
    pub async fn start_on(database: Arc<Database>, settings: &[(&str, &str)]) -> Self {
        let mut service = Self::launch(database, settings);
        let ready = service.wait_for_line("ready: listening").await;
        service.address = ready["address"]
            .as_str()
            .and_then(|address| address.parse().ok())
            .expect("the ready line has the address");
        service
    }

    /// Starts the process without waiting until it is ready.
    pub fn launch(database: Arc<Database>, settings: &[(&str, &str)]) -> Self {
        let url = database.url();
        let defaults = [
            ("DATABASE_URL", url.as_str()),
            ("DATABASE_MIGRATE", "true"),
            ("DATABASE_MAX_CONNECTIONS", "5"),
            ("PORT", "0"),
            ("BCRYPT_COST", "4"),
            ("LOG_FORMAT", "json"),
            ("IDEMPOTENCY_SECRET", super::SECRET),
            // The hosts used by tests that write raw bytes.
            ("HTTP_HOSTS", "x,127.0.0.1,0.0.0.0"),
        ];
        let mut process = command(&["serve"], &defaults)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let log = Arc::new(Mutex::new(Vec::new()));
        let stdout = process.stdout.take().expect("piped");
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                lines.lock().expect("no panic").push(line);
            }
        });
        Self {
            address: ([127, 0, 0, 1], 0).into(),
            database,
            client: Client::new(),
            process,
            log,
        }
    }

    /// Waits for a log line with this message.
    pub async fn wait_for_line(&mut self, message: &str) -> Value {
        let with_message = |lines: &[Value]| {
            lines
                .iter()
                .find(|line| line["message"] == message)
                .cloned()
        };
        self.wait_for(|lines| with_message(lines).is_some()).await;
        with_message(&self.log_lines()).expect("just seen")
    }

    /// Waits until the log lines meet a condition.
    pub async fn wait_for(&mut self, condition: impl Fn(&[Value]) -> bool) {
        let begun = Instant::now();
        while !condition(&self.log_lines()) {
            if let Some(status) = self.process.try_wait().expect("a child") {
                panic!("the service ended with {status}: {}", self.log_text());
            }
            assert!(
                begun.elapsed() < LIMIT,
                "timed out waiting: {}",
                self.log_text()
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until `/ready` returns this status, for at most the 30 s that the service promises.
    pub async fn wait_for_ready(&self, status: u16) {
        let begun = Instant::now();
        while self.get("/ready").await.status() != status {
            tokio::time::sleep(POLL).await;
            assert!(begun.elapsed() < LIMIT, "/ready never returned {status}");
        }
    }

    /// Waits until this many requests are in flight.
    pub async fn wait_for_in_flight(&self, count: u32) {
        // The metrics request itself is in flight, too.
        self.wait_for_metric(&format!("http_requests_in_flight {}", count + 1))
            .await;
    }

    /// Waits until the metrics have this line.
    pub async fn wait_for_metric(&self, line: &str) {
        let begun = Instant::now();
        loop {
            let metrics = self.get("/metrics").await.text().await.expect("text");
            if metrics.lines().any(|found| found == line) {
                return;
            }
            tokio::time::sleep(POLL).await;
            assert!(begun.elapsed() < LIMIT, "never saw {line}");
        }
    }

    /// Waits until the metric whose line has this prefix meets a condition.
    pub async fn wait_for_figure(&self, prefix: &str, is_wanted: impl Fn(f64) -> bool) {
        let begun = Instant::now();
        loop {
            let metrics = self.get("/metrics").await.text().await.expect("text");
            let figure = metrics.lines().find_map(|line| line.strip_prefix(prefix));
            if figure.is_some_and(|figure| figure.parse().is_ok_and(&is_wanted)) {
                return;
            }
            tokio::time::sleep(POLL).await;
            assert!(begun.elapsed() < LIMIT, "timed out waiting for {prefix}");
        }
    }

    /// Waits until the service has read what was revoked. Until then it asks the database for each request, so that
    /// no request shows what it knows by itself.
    pub async fn wait_for_revocations(&self) {
        let last = std::cell::Cell::new(0.0);
        let was_read = |age| age < last.replace(age);
        let name = "revocation_feed_age_seconds ";
        self.wait_for_figure(name, was_read).await;
    }

    /// The address of the administration listener.
    pub fn administration(&self) -> String {
        let lines = self.log_lines();
        let mut ready = lines
            .iter()
            .filter(|line| line["message"] == "ready: listening");
        let address = ready.next().expect("it is ready")["administration"].as_str();
        address.expect("it has the listener").to_owned()
    }

    /// Everything the service has logged, as JSON.
    pub fn log_lines(&self) -> Vec<Value> {
        let lines = self.log.lock().expect("no panic");
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
            .collect()
    }

    /// Runs a closure while the log of the service is not read.
    pub fn with_stuck_log(&self, work: impl FnOnce()) {
        // The thread that reads the lines can't store them.
        let _lines = self.log.lock().expect("no panic");
        work();
    }

    /// Everything the service has logged.
    pub fn log_text(&self) -> String {
        self.log.lock().expect("no panic").join("\n")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn get(&self, path: &str) -> Response {
        let request = self.client.get(self.url(path));
        request.send().await.expect("a response")
    }

    /// A `POST /signup` of this body.
    pub fn signup(&self, body: &Value) -> RequestBuilder {
        self.client.post(self.url("/signup")).json(body)
    }

    /// Sends a signup with this address.
    pub async fn sign_up(&self, email: &str) -> Response {
        let request = self.signup(&signup_body(email));
        request.send().await.expect("a response")
    }

    /// A `POST` of this body.
    pub fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.client.post(self.url(path)).json(body)
    }

    /// Signs up with this address, and logs in.
    pub async fn logged_in(&self, email: &str) -> Value {
        assert_eq!(self.sign_up(email).await.status(), 201);
        let response = self.post("/auth/login", &login_body(email)).send().await;
        let response = response.expect("a response");
        assert_eq!(response.status(), 200);
        response.json().await.expect("JSON")
    }

    /// A new service key with these permissions: its id and text.
    pub fn service_key(&self, permissions: &[&str]) -> (String, String) {
        let mut arguments = vec!["service-keys", "create", "--name", "test"];
        for permission in permissions {
            arguments.extend(["--permission", permission]);
        }
        arguments.extend(["--expires-in-days", "1", "--json"]);
        let output = run(&arguments, &[("DATABASE_URL", &self.database.url())]);
        assert!(output.status.success(), "{output:?}");
        let created: Value = serde_json::from_str(&output.stdout).expect("JSON");
        let text = |name: &str| created[name].as_str().expect("a text").to_owned();
        (text("id"), text("key"))
    }

    /// Refreshes with this token.
    pub async fn refresh(&self, token: &Value, key: Option<&str>) -> Response {
        let body = serde_json::json!({ "refresh_token": token });
        let request = self.post("/auth/refresh", &body);
        let request = match key {
            Some(key) => request.header("Idempotency-Key", key),
            None => request,
        };
        request.send().await.expect("a response")
    }

    /// Opens a raw connection.
    pub fn connect(&self) -> Connection {
        Connection::to(self.address)
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The resident memory of the process, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most that it was, in bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.expect("procfs is readable");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.expect("a figure") * 1024
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        // The shell's built-in kill: a small machine may lack the program.
        let kill = format!("kill -s {name} {}", self.process.id());
        let status = Command::new("sh").args(["-c", &kill]).status();
        let status = status.expect("sh runs");
        assert!(status.success());
    }

    /// Waits until the process has ended.
    pub async fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("a child") {
                return status;
            }
            assert!(
                begun.elapsed() < LIMIT,
                "still running: {}",
                self.log_text()
            );
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
