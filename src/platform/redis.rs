//! Redis: an accelerator that correctness does not depend on.
//!
//! Every command has a short time limit, and a circuit breaker guards them all: after some failures
//! in a row no commands are sent, until a background task has had a command succeed in time. So no
//! request pays for detecting an outage. Every command is a write, so that a Redis that rejects
//! writes counts as unavailable: its data may be out of date for ever.
//!
//! It is trusted not to send endless responses: the driver does not limit their size.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use deadpool_redis::redis::{Cmd, FromRedisValue, RedisError, cmd};
use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime};
use prometheus::Histogram;
use tokio::sync::watch;
use tokio::time::{timeout, timeout_at};

use crate::config::RedisUrl;
use crate::platform::clock;
use crate::platform::limits::{Bound, Limit};
use crate::platform::metrics::{Metrics, PoolSize};
use crate::platform::telemetry::spans::{Kind, System, statement};

/// The time limit of a command, including acquiring a connection.
const LIMIT: Duration = Duration::from_millis(50);

/// The time limit for a new connection of the background task, including TLS.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// The pause between two probes of the background task.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// Failures in a row that open the circuit breaker.
const MAX_FAILURES: u32 = 3;

/// Concurrent commands.
const MAX_CONNECTIONS: usize = 16;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    Limit {
        what: "One command, with its connection",
        bound: Bound::Time(LIMIT),
        effect: "the request continues without Redis",
    },
    Limit {
        what: "Commands at a time",
        bound: Bound::Count(MAX_CONNECTIONS),
        effect: "further ones wait, within their limit",
    },
    Limit {
        what: "Failures in a row",
        bound: Bound::Count(MAX_FAILURES as usize),
        effect: "the circuit breaker opens",
    },
    Limit {
        what: "New connection of a probe",
        bound: Bound::Time(PROBE_LIMIT),
        effect: "the circuit breaker stays open",
    },
];

/// The length to which a logged kind of failure is cut, in characters.
const MAX_REASON: usize = 40;

/// The reason if no connection could be opened, or none was free.
const NO_CONNECTION: &str = "no connection in time";

/// The key that the background task writes, and its value.
const PROBE: &str = "signup:probe";
const PROBE_VALUE: &[u8] = b"probe";

/// Removes a key if it still has this value.
const REMOVE_IF: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// Redis is unavailable. The reason is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Redis is unavailable")]
pub struct Unavailable;

/// A pool of connections behind a circuit breaker.
#[derive(Clone)]
pub struct Redis {
    pool: Pool,
    waits: Histogram,
    breaker: Arc<Breaker>,
}

struct Breaker {
    failures: AtomicU32,
    open: watch::Sender<bool>,
    metrics: Metrics,
}

impl Redis {
    /// Creates the pool. It does not connect: no commands are sent before [`Redis::probe`]
    /// succeeds.
    ///
    /// # Errors
    /// When the URL is not a valid Redis URL; the text has no secret.
    pub fn new(url: &RedisUrl, metrics: Metrics) -> Result<Self, String> {
        let manager = Manager::new(url.expose())
            .map_err(|error| format!("REDIS_URL is not a valid Redis URL: {}", error.category()))?;
        let pool = Pool::builder(manager)
            .max_size(MAX_CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| error.to_string())?;
        metrics.redis_breaker(true);
        let waits = metrics.redis_waits();
        let (open, _) = watch::channel(true);
        let breaker = Breaker {
            failures: AtomicU32::new(0),
            open,
            metrics,
        };
        Ok(Self {
            pool,
            waits,
            breaker: Arc::new(breaker),
        })
    }

    /// Records the number of connections.
    pub fn measure(&self, metrics: &Metrics) {
        let status = self.pool.status();
        metrics.redis_pool_size(PoolSize {
            idle: status.available,
            in_use: status.size.saturating_sub(status.available),
            most: status.max_size,
        });
    }

    /// Whether commands are sent at all.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !*self.breaker.open.borrow()
    }

    /// Sets a value with this expiry, unless the key has one, which is returned.
    ///
    /// # Errors
    /// When it is unknown whether the value was set.
    pub async fn set_if_absent(
        &self,
        key: &str,
        value: &[u8],
        life: Duration,
    ) -> Result<Option<Vec<u8>>, Unavailable> {
        // Redis supports NX and GET together from version 7.
        let mut command = cmd("SET");
        command.arg(key).arg(value).arg("NX").arg("GET");
        let response = self.run("SET", command.arg("PX").arg(millis(life))).await?;
        self.breaker.succeeded();
        Ok(response)
    }

    /// Sets a value with this expiry.
    ///
    /// # Errors
    /// When it is unknown whether the value was set.
    pub async fn set(&self, key: &str, value: &[u8], life: Duration) -> Result<(), Unavailable> {
        let mut command = cmd("SET");
        command.arg(key).arg(value).arg("PX").arg(millis(life));
        self.run::<()>("SET", &command).await?;
        self.breaker.succeeded();
        Ok(())
    }

    /// Removes keys.
    ///
    /// # Errors
    /// When it is unknown whether they were removed.
    pub async fn remove(&self, keys: &[String]) -> Result<(), Unavailable> {
        self.run("DEL", cmd("DEL").arg(keys)).await
    }

    /// Removes a key if it still has this value.
    ///
    /// # Errors
    /// When it is unknown whether it was removed.
    pub async fn remove_if(&self, key: &str, value: &[u8]) -> Result<(), Unavailable> {
        let mut command = cmd("EVAL");
        self.run("EVAL", command.arg(REMOVE_IF).arg(1).arg(key).arg(value))
            .await
    }

    /// Checks whether Redis responds in time, and closes the circuit breaker if it does.
    ///
    /// # Errors
    /// The reason, without secrets.
    pub async fn probe(&self) -> Result<(), String> {
        let probed = self.try_probe().await;
        match &probed {
            Ok(()) => self.breaker.close(),
            Err(reason) => tracing::debug!(reason, "redis still unavailable"),
        }
        probed
    }

    async fn try_probe(&self) -> Result<(), String> {
        // A new connection may take longer than a command may.
        let connected = timeout(PROBE_LIMIT, self.pool.get()).await;
        drop(
            connected
                .map_err(|_| NO_CONNECTION.to_owned())?
                .map_err(|error| why(&error))?,
        );
        let mut command = cmd("SET");
        command.arg(PROBE).arg(PROBE_VALUE).arg("NX").arg("GET");
        command.arg("PX").arg(millis(PROBE_LIMIT));
        let found = self.send::<Option<Vec<u8>>>(&command, LIMIT).await?;
        if found.is_none_or(|value| value == PROBE_VALUE) {
            Ok(())
        } else {
            Err("it returned an unexpected value".to_owned())
        }
    }

    /// Probes Redis periodically while the circuit breaker is open. It never returns.
    pub async fn watch(&self) {
        let mut open = self.breaker.open.subscribe();
        // The sender lives as long as this does, so the wait never fails.
        while open.wait_for(|open| *open).await.is_ok() {
            tokio::time::sleep(PROBE_EVERY).await;
            let _ = self.probe().await;
        }
    }

    async fn run<T: FromRedisValue>(
        &self,
        name: &'static str,
        command: &Cmd,
    ) -> Result<T, Unavailable> {
        if !self.is_usable() {
            return Err(Unavailable);
        }
        let sent = async {
            self.send(command, LIMIT).await.map_err(|reason| {
                self.breaker.failed(&reason);
                Unavailable
            })
        };
        statement(System::Redis, name, "", sent).await
    }

    async fn send<T: FromRedisValue>(&self, command: &Cmd, limit: Duration) -> Result<T, String> {
        let begun = clock::monotonic();
        let end = (begun + limit).into();
        let connection = timeout_at(end, self.pool.get()).await;
        self.waits.observe(clock::since(begun).as_secs_f64());
        let mut connection = connection
            .map_err(|_| NO_CONNECTION.to_owned())?
            .map_err(|error| why(&error))?;
        let response = timeout_at(end, command.query_async(&mut connection)).await;
        let reason = match response {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(error)) => failure_kind(&error),
            Err(_) => "no response in time".to_owned(),
        };
        // A late response on this connection must not be taken for that of the next command.
        drop(Connection::take(connection));
        Err(reason)
    }
}

impl Kind for Unavailable {
    fn kind(&self) -> String {
        "no_response".to_owned()
    }
}

impl Breaker {
    /// Records that a value was set. A successful removal proves nothing: a Redis without free
    /// memory allows it, too.
    fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    fn failed(&self, reason: &str) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if failures >= MAX_FAILURES && self.set(true) {
            tracing::warn!(reason, "redis unavailable, continuing without it");
        }
    }

    fn close(&self) {
        self.succeeded();
        if self.set(false) {
            tracing::info!("redis available again");
        }
    }

    /// Opens or closes the breaker; returns whether this was a change.
    fn set(&self, open: bool) -> bool {
        self.open.send_if_modified(|is_open| {
            self.metrics.redis_breaker(open);
            std::mem::replace(is_open, open) != open
        })
    }
}

fn why(error: &PoolError) -> String {
    match error {
        PoolError::Backend(error) => failure_kind(error),
        error => error.to_string(),
    }
}

/// The kind of failure. The whole text may contain the command, or the URL.
fn failure_kind(error: &RedisError) -> String {
    let kind = match error.code() {
        Some(code) => code,
        None if error.is_connection_refusal() => "connection refused",
        None if error.is_timeout() => "no response in time",
        None if error.is_connection_dropped() => "connection closed",
        None => error.category(),
    };
    kind.chars().take(MAX_REASON).collect()
}

fn millis(life: Duration) -> u64 {
    u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(1)
}
