//! Redis, which speeds up and decides nothing.
//!
//! Every question has a short time limit, and a circuit breaker stands before them all: after some
//! failures in a row nobody asks any more, until a background task has had a question answered in
//! time. So no request pays for finding out. Every question is a write, so that a Redis that
//! takes no writes is as good as none: what it holds may be out of date for ever.
//!
//! It is trusted not to send answers without end: the driver has no limit to them.

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
use crate::platform::metrics::{Metrics, PoolSize};
use crate::platform::telemetry::spans::{Kind, System, statement};

/// How long a question may take, with getting a connection.
const LIMIT: Duration = Duration::from_millis(50);

/// How long the background task gives a new connection: TLS takes its time.
const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// How long the background task waits between two tries.
const PROBE_EVERY: Duration = Duration::from_millis(500);

/// Failures in a row after which nobody asks any more.
const MAX_FAILURES: u32 = 3;

/// Questions at a time.
const MAX_CONNECTIONS: usize = 16;

/// How much of a kind of failure is logged, in characters.
const MAX_REASON: usize = 40;

/// The reason where none was opened, or none was free.
const NO_CONNECTION: &str = "no connection in time";

/// Where the background task writes, and what.
const PROBE: &str = "signup:probe";
const PROBE_VALUE: &[u8] = b"probe";

/// Removes a value, if it is still this one.
const REMOVE_IF: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// Redis gave no answer that is of use. The reason is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Redis gave no answer that is of use")]
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
    /// Takes the URL. It does not connect: nobody may ask before [`Redis::probe`] has.
    ///
    /// # Errors
    /// When it is no URL of a Redis; the text has no secret.
    pub fn new(url: &RedisUrl, metrics: Metrics) -> Result<Self, String> {
        let manager = Manager::new(url.expose())
            .map_err(|error| format!("REDIS_URL is no URL of a Redis: {}", error.category()))?;
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

    /// Notes how many connections there are.
    pub fn measure(&self, metrics: &Metrics) {
        let status = self.pool.status();
        metrics.redis_pool_size(PoolSize {
            idle: status.available,
            in_use: status.size.saturating_sub(status.available),
            most: status.max_size,
        });
    }

    /// Whether questions are asked at all.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !*self.breaker.open.borrow()
    }

    /// Sets a value for so long, unless there is one, which it gives.
    ///
    /// # Errors
    /// When nobody knows whether it was set.
    pub async fn set_if_absent(
        &self,
        key: &str,
        value: &[u8],
        life: Duration,
    ) -> Result<Option<Vec<u8>>, Unavailable> {
        // Both at once is known from Redis 7 on.
        let mut command = cmd("SET");
        command.arg(key).arg(value).arg("NX").arg("GET");
        let answer = self.ask("SET", command.arg("PX").arg(millis(life))).await?;
        self.breaker.succeeded();
        Ok(answer)
    }

    /// Sets a value for so long.
    ///
    /// # Errors
    /// When nobody knows whether it was set.
    pub async fn set(&self, key: &str, value: &[u8], life: Duration) -> Result<(), Unavailable> {
        let mut command = cmd("SET");
        command.arg(key).arg(value).arg("PX").arg(millis(life));
        self.ask::<()>("SET", &command).await?;
        self.breaker.succeeded();
        Ok(())
    }

    /// Removes values.
    ///
    /// # Errors
    /// When nobody knows whether they are gone.
    pub async fn remove(&self, keys: &[String]) -> Result<(), Unavailable> {
        self.ask("DEL", cmd("DEL").arg(keys)).await
    }

    /// Removes a value, if it is still this one.
    ///
    /// # Errors
    /// When nobody knows whether it is gone.
    pub async fn remove_if(&self, key: &str, value: &[u8]) -> Result<(), Unavailable> {
        let mut command = cmd("EVAL");
        self.ask("EVAL", command.arg(REMOVE_IF).arg(1).arg(key).arg(value))
            .await
    }

    /// Tries whether Redis answers a question in time, and lets questions through if it does.
    ///
    /// # Errors
    /// Why not, in words without a secret.
    pub async fn probe(&self) -> Result<(), String> {
        let probed = self.try_probe().await;
        match &probed {
            Ok(()) => self.breaker.close(),
            Err(reason) => tracing::debug!(reason, "redis still unavailable"),
        }
        probed
    }

    async fn try_probe(&self) -> Result<(), String> {
        // A new connection may take longer than a question may.
        let connected = timeout(PROBE_LIMIT, self.pool.get()).await;
        drop(
            connected
                .map_err(|_| NO_CONNECTION.to_owned())?
                .map_err(|error| why(&error))?,
        );
        let mut question = cmd("SET");
        question.arg(PROBE).arg(PROBE_VALUE).arg("NX").arg("GET");
        question.arg("PX").arg(millis(PROBE_LIMIT));
        let found = self.send::<Option<Vec<u8>>>(&question, LIMIT).await?;
        if found.is_none_or(|value| value == PROBE_VALUE) {
            Ok(())
        } else {
            Err("it returns what nobody has put there".to_owned())
        }
    }

    /// Tries now and then, whenever questions have stopped. It never ends.
    pub async fn watch(&self) {
        let mut open = self.breaker.open.subscribe();
        // The sender lives as long as this does, so the wait never fails.
        while open.wait_for(|open| *open).await.is_ok() {
            tokio::time::sleep(PROBE_EVERY).await;
            let _ = self.probe().await;
        }
    }

    async fn ask<T: FromRedisValue>(
        &self,
        name: &'static str,
        command: &Cmd,
    ) -> Result<T, Unavailable> {
        if !self.is_usable() {
            return Err(Unavailable);
        }
        let asked = async {
            self.send(command, LIMIT).await.map_err(|reason| {
                self.breaker.failed(&reason);
                Unavailable
            })
        };
        statement(System::Redis, name, "", asked).await
    }

    async fn send<T: FromRedisValue>(&self, command: &Cmd, limit: Duration) -> Result<T, String> {
        let begun = clock::monotonic();
        let end = (begun + limit).into();
        let connection = timeout_at(end, self.pool.get()).await;
        self.waits.observe(clock::since(begun).as_secs_f64());
        let mut connection = connection
            .map_err(|_| NO_CONNECTION.to_owned())?
            .map_err(|error| why(&error))?;
        let answer = timeout_at(end, command.query_async(&mut connection)).await;
        let reason = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => in_words(&error),
            Err(_) => "no answer in time".to_owned(),
        };
        // What still comes on this connection must not be taken for the next answer.
        drop(Connection::take(connection));
        Err(reason)
    }
}

impl Kind for Unavailable {
    fn kind(&self) -> String {
        "no_answer".to_owned()
    }
}

impl Breaker {
    /// A value was set. That one was removed proves nothing: a Redis without memory does that too.
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

    /// Opens or closes; says whether this was a change.
    fn set(&self, open: bool) -> bool {
        self.open.send_if_modified(|is_open| {
            self.metrics.redis_breaker(open);
            std::mem::replace(is_open, open) != open
        })
    }
}

fn why(error: &PoolError) -> String {
    match error {
        PoolError::Backend(error) => in_words(error),
        error => error.to_string(),
    }
}

/// What kind of failure it was: the whole text may repeat what was sent, or the URL.
fn in_words(error: &RedisError) -> String {
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
