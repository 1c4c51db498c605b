//! Processes of the service, which are restarted whenever they end.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sqlx::{Connection, Row as _};
use tempfile::TempDir;

use crate::faults::Chance;
use crate::proxy::Proxy;

/// The crash points of a signup, in order, as named by the statement layer.
const POINTS: [&str; 8] = [
    "BEGIN",
    "INSERT idempotency_records",
    "INSERT users",
    "UPDATE idempotency_records",
    "INSERT users_read",
    "INSERT user_events",
    "COMMIT",
    "RESPONSE",
];

/// What the processes of a run have in common.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The planted bug; empty for none.
    pub plant: &'static str,
    /// The crash points; empty for those of a signup.
    pub points: &'static [&'static str],
    /// The number of passes of a crash point after which a process has ended at the latest.
    pub passes: usize,
    /// Further settings.
    pub settings: &'static [(&'static str, &'static str)],
    /// Whether the log is kept, to be searched.
    pub keeps_log: bool,
}

impl Options {
    /// Those of a run of signups, with a planted bug or none.
    pub const fn with_plant(plant: &'static str) -> Self {
        Self {
            plant,
            points: &[],
            passes: 30,
            settings: &[],
            keeps_log: false,
        }
    }
}

/// The location of the data.
pub enum Place {
    Sqlite(TempDir),
    Postgres {
        server: &'static throwaway_servers::postgres::Server,
        database: throwaway_servers::postgres::Database,
        /// The proxy between the service and the server.
        proxy: Proxy,
        redis: Option<Redis>,
    },
}

/// A Redis server, and the proxy between it and the service.
pub struct Redis {
    pub server: throwaway_servers::redis::Server,
    pub proxy: Proxy,
}

impl Place {
    /// The rows of a query, with columns of text, without the proxy; none of a write.
    pub async fn rows(&self, text: &str) -> Vec<Vec<String>> {
        match self {
            Self::Sqlite(_) => rows::<sqlx::SqliteConnection>(self, text).await,
            Self::Postgres { .. } => rows::<sqlx::PgConnection>(self, text).await,
        }
    }

    pub fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().expect("a folder"))
    }

    pub fn postgres() -> Self {
        // A separate server: it is stopped and cut off.
        let server = throwaway_servers::postgres::Server::start().expect("PostgreSQL starts");
        let server: &'static throwaway_servers::postgres::Server = Box::leak(Box::new(server));
        Self::Postgres {
            server,
            database: server.database(),
            proxy: Proxy::start(server.address()),
            redis: None,
        }
    }

    pub fn postgres_and_redis() -> Self {
        let mut place = Self::postgres();
        if let Self::Postgres { redis, .. } = &mut place {
            let server = throwaway_servers::redis::Server::start().expect("Redis starts");
            let proxy = Proxy::start(server.address());
            *redis = Some(Redis { server, proxy });
        }
        place
    }

    pub fn redis(&self) -> Option<&Redis> {
        match self {
            Self::Sqlite(_) => None,
            Self::Postgres { redis, .. } => redis.as_ref(),
        }
    }

    /// The crash points of a signup with this place.
    pub fn points(&self) -> Vec<&'static str> {
        let shared = self.redis().map(|_| "SHARE");
        POINTS.into_iter().chain(shared).collect()
    }

    /// Whether there is a network between the service and its data.
    pub fn has_network(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }

    /// The URL for the service, through the proxy.
    pub fn service_url(&self) -> String {
        match self {
            Self::Sqlite(_) => self.url(),
            Self::Postgres {
                database, proxy, ..
            } => format!("postgres://postgres@{}/{}", proxy.address, database.name()),
        }
    }

    /// The URL of the data, without the proxy.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(folder) => {
                format!("sqlite://{}", folder.path().join("signup.db").display())
            }
            Self::Postgres { database, .. } => database.url(),
        }
    }
}

async fn rows<C>(place: &Place, text: &str) -> Vec<Vec<String>>
where
    C: Connection,
    for<'c> &'c mut C: sqlx::Executor<'c, Database = C::Database>,
    usize: sqlx::ColumnIndex<<C::Database as sqlx::Database>::Row>,
    for<'r> String: sqlx::Decode<'r, C::Database> + sqlx::Type<C::Database>,
{
    let mut connection = C::connect(&place.url()).await.expect("connects");
    let query = sqlx::raw_sql(sqlx::AssertSqlSafe(text.to_owned()));
    let rows = query.fetch_all(&mut connection).await.expect("rows");
    let texts = |row: &<C::Database as sqlx::Database>::Row| {
        (0..row.len()).map(|column| row.get(column)).collect()
    };
    rows.iter().map(texts).collect()
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite(_) => "SQLite",
            Self::Postgres { redis: None, .. } => "PostgreSQL",
            Self::Postgres { .. } => "PostgreSQL and Redis",
        })
    }
}

/// The instances on one place.
pub struct Instances {
    pub place: Arc<Place>,
    /// What the processes logged, if it is kept.
    pub log: Arc<Mutex<String>>,
    all: Vec<Arc<Instance>>,
    crashing: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    watchers: Vec<std::thread::JoinHandle<()>>,
    crashes: Arc<Mutex<BTreeMap<&'static str, u64>>>,
}

/// One instance: successive processes.
struct Instance {
    running: Mutex<Option<(u32, SocketAddr)>>,
}

impl Instances {
    /// Starts a number of instances, each restarted by a separate thread.
    pub async fn start(place: Arc<Place>, count: usize, seed: u64, options: Options) -> Self {
        if !options.plant.is_empty() {
            // The bug is to break what clients do, and not the first start, which makes a signing key.
            let without = Options {
                plant: "",
                ..options
            };
            drop(Box::pin(Self::start(Arc::clone(&place), 1, seed, without)).await);
        }
        let mut instances = Self {
            place,
            log: Arc::default(),
            all: (0..count)
                .map(|_| {
                    Arc::new(Instance {
                        running: Mutex::new(None),
                    })
                })
                .collect(),
            crashing: Arc::new(AtomicBool::new(true)),
            ended: Arc::default(),
            watchers: Vec::new(),
            crashes: Arc::default(),
        };
        for (number, instance) in (0_u64..).zip(&instances.all) {
            let (instance, place) = (Arc::clone(instance), Arc::clone(&instances.place));
            let (crashing, crashes) = (
                Arc::clone(&instances.crashing),
                Arc::clone(&instances.crashes),
            );
            let (ended, log) = (Arc::clone(&instances.ended), Arc::clone(&instances.log));
            let mut chance = Chance::new(seed ^ (number + 1));
            instances.watchers.push(std::thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    let mut command = command(&place, options);
                    let crashes_now = crashing.load(Ordering::Relaxed);
                    let point = crashes_now.then(|| crash_point(&place, options, &mut chance));
                    if let Some((point, passing)) = point {
                        command.env("CRASH_AT", format!("{point}:{passing}"));
                    }
                    let log = options.keeps_log.then(|| Arc::clone(&log));
                    let is_unwanted = || {
                        let is_over = crashes_now && !crashing.load(Ordering::Relaxed);
                        is_over || ended.load(Ordering::Relaxed)
                    };
                    let aborted = run(&instance, command, log, is_unwanted);
                    let point = point.filter(|_| aborted).map(|(point, _)| point);
                    if let Some(point) = point {
                        *crashes.lock().expect("no panic").entry(point).or_default() += 1;
                    }
                }
            }));
        }
        instances.wait_until_ready(Duration::from_mins(1)).await;
        instances
    }

    /// From now on, started instances do not crash.
    pub fn stop_crashing(&self) {
        self.crashing.store(false, Ordering::Relaxed);
        // Running instances may still have a crash point.
        for number in 0..self.all.len() {
            self.signal(number, "KILL");
        }
    }

    /// The address of an instance, if it is running.
    pub fn address(&self, number: usize) -> Option<SocketAddr> {
        let running = self.all[number % self.all.len()].running.lock();
        running.expect("no panic").map(|(_, address)| address)
    }

    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Sends a signal to an instance; returns whether it was running.
    pub fn signal(&self, number: usize, name: &str) -> bool {
        let running = self.all[number % self.all.len()].running.lock();
        let Some((process, _)) = *running.expect("no panic") else {
            return false;
        };
        let kill = format!("kill -s {name} {process} 2>/dev/null");
        let status = Command::new("sh").args(["-c", &kill]).status();
        status.expect("sh runs").success()
    }

    pub fn crashes(&self) -> u64 {
        self.crashes.lock().expect("no panic").values().sum()
    }

    /// The number of crash points that ended a process.
    pub fn points_hit(&self) -> usize {
        self.crashes.lock().expect("no panic").len()
    }

    pub fn crashes_by_point(&self) -> String {
        format!("{:?}", self.crashes.lock().expect("no panic"))
    }

    /// Waits until every instance is ready.
    pub async fn wait_until_ready(&self, limit: Duration) {
        let begun = Instant::now();
        let client = reqwest::Client::new();
        for number in 0..self.all.len() {
            loop {
                if let Some(address) = self.address(number) {
                    let ready = client.get(format!("http://{address}/ready"));
                    let ready = ready.timeout(Duration::from_secs(5)).send().await;
                    if ready.is_ok_and(|response| response.status() == 200) {
                        break;
                    }
                }
                assert!(begun.elapsed() < limit, "instance {number} is not ready");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

impl Drop for Instances {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for instance in &self.all {
            let running = *instance.running.lock().expect("no panic");
            if let Some((process, _)) = running {
                let kill = format!("kill -s CONT {process}; kill -s KILL {process}");
                let _ = Command::new("sh").args(["-c", &kill]).status();
            }
        }
        for watcher in self.watchers.drain(..) {
            let _ = watcher.join();
        }
    }
}

/// A crash point, and the pass at which the process ends there.
fn crash_point(place: &Place, options: Options, chance: &mut Chance) -> (&'static str, usize) {
    let points = match options.points {
        [] => place.points(),
        points => points.to_vec(),
    };
    (
        points[chance.below(points.len())],
        1 + chance.below(options.passes),
    )
}

/// The command that starts the service on this place.
fn command(place: &Place, options: Options) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signup-service"));
    command.env_clear().envs([
        ("DATABASE_URL", &*place.service_url()),
        ("DATABASE_MIGRATE", "true"),
        ("PORT", "0"),
        ("BCRYPT_COST", "4"),
        ("REQUEST_TIMEOUT_MS", "3000"),
        ("LOG_FORMAT", "json"),
        ("PLANT", options.plant),
        ("IDEMPOTENCY_SECRET", "a secret of thirty-two bytes or more"),
        ("AUTH_SECRET", "a secret of thirty-two bytes or more"),
        ("READS", "open"),
        ("EMAIL_VERIFICATION", "off"),
        ("ADMIN_PORT", "0"),
    ]);
    if let Some(redis) = place.redis() {
        command.env("REDIS_URL", format!("redis://{}/0", redis.proxy.address));
    }
    command.envs(options.settings.iter().copied());
    command
}

/// Starts the process and waits for its end. Returns whether it aborted, as it does at a crash point; a
/// kill is counted by its sender.
fn run(
    instance: &Instance,
    mut command: Command,
    log: Option<Arc<Mutex<String>>>,
    is_unwanted: impl Fn() -> bool,
) -> bool {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.expect("the binary runs");
    let lines = read_until_ready(&mut child, instance, log);
    if is_unwanted() {
        // This process was not known when all of them were ended, or were not to crash any more.
        let _ = child.kill();
    }
    let status = child.wait().expect("a child");
    *instance.running.lock().expect("no panic") = None;
    drop(lines);
    status.signal() == Some(6)
}

/// Records the address, and continues to read so that the process does not block.
fn read_until_ready(
    child: &mut Child,
    instance: &Instance,
    log: Option<Arc<Mutex<String>>>,
) -> Option<std::thread::JoinHandle<()>> {
    let mut lines = BufReader::new(child.stdout.take()?).lines();
    let keep = move |line: &str| {
        if let Some(log) = &log {
            let mut log = log.lock().expect("no panic");
            log.push_str(line);
            log.push('\n');
        }
    };
    for line in lines.by_ref().map_while(Result::ok) {
        keep(&line);
        let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let address = line["address"].as_str().and_then(|text| text.parse().ok());
        if let Some(address) = address {
            *instance.running.lock().expect("no panic") = Some((child.id(), address));
            break;
        }
    }
    let rest = move || lines.map_while(Result::ok).for_each(|line| keep(&line));
    Some(std::thread::spawn(rest))
}
