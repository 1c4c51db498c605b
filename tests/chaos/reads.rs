//! Reads while rows change, under faults: a read that begins after the response to a write sees it.
//!
//! Writers count a number up in the rows of a few users, so that many reads ask for the same row at
//! the same time. Readers keep the number they saw, and when they asked. Afterwards the history is
//! checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sqlx::Connection;
use throwaway_servers::postgres::Server;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::faults::Chance;
use crate::instances::{Instances, Options, Place};
use crate::proxy::Mode;

/// The users, of whom each has one writer.
const USERS: usize = 3;

/// Concurrent readers: several for each user and serving thread.
const READERS: u64 = 32;

/// One read in this many is cancelled by its client.
const CANCELLED: usize = 10;

const INSERT_SQLITE: &str = "INSERT INTO users_read \
     (id, name, email, email_canonical, display_name, created_at) VALUES ($1, $2, $2, $2, '0', 0)";
const INSERT_POSTGRES: &str = "INSERT INTO users_read \
     (id, name, email, email_canonical, display_name, created_at) VALUES ($1, $2, $2, $2, '0', now())";

const COUNT: &str = "UPDATE users_read SET display_name = $1 WHERE id = $2";

/// A write, acknowledged.
#[derive(Debug, Clone, Copy)]
pub struct Write {
    pub user: usize,
    pub number: u64,
    pub acknowledged: Instant,
}

/// A read, with the number that it saw; `None` if there was no such user.
#[derive(Debug, Clone, Copy)]
pub struct Read {
    pub user: usize,
    pub begun: Instant,
    pub seen: Option<u64>,
}

/// What happened.
#[derive(Default)]
pub struct History {
    /// In the order of their numbers, for each user.
    pub writes: Vec<Write>,
    pub reads: Vec<Read>,
    pub failed: u64,
    pub cancelled: u64,
    pub faults: u64,
    /// The reads that the database got, and the statements for them.
    pub asked: (f64, f64),
}

/// The reads that did not see a write that had been acknowledged before they began.
pub fn stale(history: &History) -> Vec<String> {
    let mut acknowledged: Vec<Vec<Write>> = vec![Vec::new(); USERS];
    for write in &history.writes {
        acknowledged[write.user].push(*write);
    }
    let is_stale = |read: &&Read| {
        let writes = &acknowledged[read.user];
        let before = writes.partition_point(|write| write.acknowledged <= read.begun);
        let wanted = before.checked_sub(1).map_or(0, |last| writes[last].number);
        read.seen.is_none_or(|seen| seen < wanted)
    };
    let stale = history.reads.iter().filter(is_stale);
    stale.map(|read| format!("{read:?}")).collect()
}

fn id(user: usize) -> uuid::Uuid {
    uuid::Uuid::from_u128(0x7000_8000_0000_0000_0000 + user as u128)
}

fn address(user: usize) -> String {
    format!("ada{user}@example.org")
}

/// A connection of a writer, around the faults.
enum Writer {
    Sqlite(sqlx::SqliteConnection),
    Postgres(sqlx::PgConnection),
}

impl Writer {
    async fn connect(place: &Place) -> Self {
        match place {
            Place::Sqlite(_) => {
                let connection = sqlx::SqliteConnection::connect(&place.url()).await;
                Self::Sqlite(connection.expect("opens"))
            }
            Place::Postgres { .. } => {
                let connection = sqlx::PgConnection::connect(&place.url()).await;
                Self::Postgres(connection.expect("connects"))
            }
        }
    }

    /// Makes the users, with the number 0.
    async fn make_users(&mut self) {
        for user in 0..USERS {
            let name = address(user);
            match self {
                Self::Sqlite(connection) => {
                    let insert = sqlx::query(INSERT_SQLITE).bind(id(user)).bind(name);
                    insert.execute(&mut *connection).await.expect("inserts");
                }
                Self::Postgres(connection) => {
                    let insert = sqlx::query(INSERT_POSTGRES).bind(id(user)).bind(name);
                    insert.execute(&mut *connection).await.expect("inserts");
                }
            }
        }
    }

    async fn write(&mut self, user: usize, number: u64) {
        let text = number.to_string();
        let rows = match self {
            Self::Sqlite(connection) => {
                let count = sqlx::query(COUNT).bind(text).bind(id(user));
                let done = count.execute(&mut *connection).await.expect("writes");
                done.rows_affected()
            }
            Self::Postgres(connection) => {
                let count = sqlx::query(COUNT).bind(text).bind(id(user));
                let done = count.execute(&mut *connection).await.expect("writes");
                done.rows_affected()
            }
        };
        assert_eq!(rows, 1);
    }
}

/// Writes and reads for some time, and until there are so many writes, on one instance: a disk that others
/// use is slow. Gives up after eight times the time.
pub async fn run(
    place: Place,
    seconds: u64,
    least_writes: usize,
    seed: u64,
    plant: &'static str,
) -> History {
    let place = Arc::new(place);
    let options = Options::with_plant(plant);
    let instances = Arc::new(Instances::start(Arc::clone(&place), 1, seed, options).await);
    Writer::connect(&place).await.make_users().await;
    let running = Arc::new(AtomicBool::new(true));

    let written = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..USERS)
        .map(|user| {
            let (place, running) = (Arc::clone(&place), Arc::clone(&running));
            let written = Arc::clone(&written);
            tokio::spawn(async move { write_on(&place, user, &running, &written).await })
        })
        .collect();
    let cancelled = Arc::new(AtomicU64::new(0));
    let failed = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            let (instances, running) = (Arc::clone(&instances), Arc::clone(&running));
            let (cancelled, failed) = (Arc::clone(&cancelled), Arc::clone(&failed));
            let chance = Chance::new(seed ^ (1_000 + reader));
            tokio::spawn(read(instances, running, chance, cancelled, failed))
        })
        .collect();

    let time = Duration::from_secs(seconds);
    let begun = Instant::now();
    let goes_on = || {
        let is_short = written.load(Ordering::Relaxed) <= least_writes;
        begun.elapsed() < time || is_short && begun.elapsed() < 8 * time
    };
    let faults = disturb(&place, seed, goes_on).await;
    running.store(false, Ordering::Relaxed);
    let mut history = History {
        faults,
        asked: shared(&instances).await,
        ..History::default()
    };
    for writer in writers {
        history
            .writes
            .extend(writer.await.expect("a writer never panics"));
    }
    for reader in readers {
        history
            .reads
            .extend(reader.await.expect("a reader never panics"));
    }
    history.failed = failed.load(Ordering::Relaxed);
    history.cancelled = cancelled.load(Ordering::Relaxed);
    history
}

async fn write_on(
    place: &Place,
    user: usize,
    running: &AtomicBool,
    written: &AtomicUsize,
) -> Vec<Write> {
    let mut connection = Writer::connect(place).await;
    let mut writes = Vec::new();
    let mut number = 0;
    while running.load(Ordering::Relaxed) {
        number += 1;
        connection.write(user, number).await;
        writes.push(Write {
            user,
            number,
            acknowledged: Instant::now(),
        });
        written.fetch_add(1, Ordering::Relaxed);
        // Readers need the processors, too.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    writes
}

async fn read(
    instances: Arc<Instances>,
    running: Arc<AtomicBool>,
    mut chance: Chance,
    cancelled: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
) -> Vec<Read> {
    let mut reads = Vec::new();
    let mut connection = None;
    while running.load(Ordering::Relaxed) {
        let (user, by_address) = (chance.below(USERS), chance.below(2) == 0);
        let begun = Instant::now();
        if chance.below(CANCELLED) == 0 {
            let asked = ask(&instances, &mut connection, user, by_address);
            let in_time = tokio::time::timeout(chance.millis(0, 4), asked).await;
            connection = None;
            cancelled.fetch_add(u64::from(in_time.is_err()), Ordering::Relaxed);
            continue;
        }
        let asked = ask(&instances, &mut connection, user, by_address);
        let asked = tokio::time::timeout(Duration::from_secs(5), asked).await;
        if let Ok(Some(seen)) = asked {
            reads.push(Read { user, begun, seen });
        } else {
            connection = None;
            failed.fetch_add(1, Ordering::Relaxed);
        }
    }
    reads
}

/// The number of a user, by one request; `None` if it failed. A client of a few lines: more reads
/// meet at the service than with a library for HTTP on the same processors.
async fn ask(
    instances: &Instances,
    connection: &mut Option<TcpStream>,
    user: usize,
    by_address: bool,
) -> Option<Option<u64>> {
    let stream = match connection {
        Some(stream) => stream,
        None => connection.insert(TcpStream::connect(instances.address(0)?).await.ok()?),
    };
    let path = if by_address {
        format!("/users?email={}", address(user))
    } else {
        format!("/users/{}", id(user))
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let response = receive(stream).await?;
    match response.split_once(r#""display_name":""#) {
        Some((_, name)) => Some(Some(name.split_once('"')?.0.parse().ok()?)),
        // Not found, or an empty list.
        None if response.starts_with("HTTP/1.1 404") || response.starts_with("HTTP/1.1 200") => {
            Some(None)
        }
        None => None,
    }
}

/// One whole response.
async fn receive(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let (_, length) = head.split_once("content-length: ")?;
        let length: usize = length.lines().next()?.parse().ok()?;
        if body.len() >= length {
            return Some(text.into_owned());
        }
    }
}

/// The number of reads that shared statements, and of these statements, of an instance.
async fn shared(instances: &Instances) -> (f64, f64) {
    let address = instances.address(0).expect("it runs");
    let metrics = reqwest::get(format!("http://{address}/metrics")).await;
    let metrics = metrics.expect("a response").text().await.expect("a body");
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok())
            .expect(name)
    };
    (
        value("database_reads_per_statement_sum"),
        value("database_reads_per_statement_count"),
    )
}

/// Ends the service's sessions, resets, holds up and delays its connections; SQLite has none. Returns how
/// often.
async fn disturb(place: &Place, seed: u64, goes_on: impl Fn() -> bool) -> u64 {
    let mut chance = Chance::new(seed);
    let mut faults = 0;
    while goes_on() {
        tokio::time::sleep(chance.millis(100, 500)).await;
        let Place::Postgres { server, proxy, .. } = place else {
            continue;
        };
        faults += 1;
        match chance.below(5) {
            0 | 1 => end_sessions(server),
            2 => proxy.reset(),
            3 => {
                proxy.set(Mode::Hole);
                tokio::time::sleep(chance.millis(50, 300)).await;
                proxy.set(Mode::Pass);
            }
            _ => {
                proxy.set(Mode::Delay(chance.millis(1, 30)));
                tokio::time::sleep(chance.millis(50, 300)).await;
                proxy.set(Mode::Pass);
            }
        }
    }
    faults
}

fn end_sessions(server: &Server) {
    server.sql(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name = 'signup-service'",
    );
}

#[test]
fn a_read_that_misses_a_write_is_found() {
    let begun = Instant::now();
    let at = |millis| begun + Duration::from_millis(millis);
    let write = |number, millis| Write {
        user: 1,
        number,
        acknowledged: at(millis),
    };
    let read = |seen, millis| Read {
        user: 1,
        begun: at(millis),
        seen,
    };
    let history = |reads: Vec<Read>| History {
        writes: vec![write(1, 10), write(2, 20)],
        reads,
        ..History::default()
    };
    let fresh = vec![
        read(Some(0), 5),
        read(Some(2), 5),
        read(Some(1), 15),
        read(Some(2), 25),
    ];
    assert!(stale(&history(fresh)).is_empty());
    for missed in [read(Some(0), 15), read(Some(1), 25), read(None, 15)] {
        assert_eq!(stale(&history(vec![missed])).len(), 1, "{missed:?}");
    }
}
