//! Metrics: the registry that `/metrics` prints, and the figures of the HTTP server.

use std::time::Duration;

use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Upper bounds, in seconds: 1 ms to 10 s.
const BUCKETS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The metrics of one service.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    request_duration: HistogramVec,
    in_flight: IntGauge,
    idempotency: IntCounterVec,
    replays: IntCounterVec,
    keys_in_flight: IntGauge,
    breakers: IntGaugeVec,
    duplicates: IntCounter,
    hashing: Hashing,
}

/// The figures of password hashing.
#[derive(Clone)]
struct Hashing {
    waiting: IntGauge,
    lanes: IntGauge,
    batch: Histogram,
    wait: Histogram,
    duration: Histogram,
    refused: IntCounterVec,
}

/// Why a password was not hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashRefused {
    /// Too many were waiting.
    QueueFull,
    /// It would have ended too late, or did not end in time.
    Deadline,
    /// Either was seen before the request was looked at closely.
    Early,
}

/// What a request with an idempotency key was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdempotencyResult {
    /// What came of executing it.
    First,
    /// The answer of the first.
    Replayed,
    /// That the key was used with another request, now or too often before.
    Mismatch,
    /// That the first did not end in time.
    InFlight,
}

/// Where an answer that is given again was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayTier {
    /// In Redis.
    Redis,
    /// In its record.
    Database,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When a name stands twice.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let request_duration = HistogramVec::new(
            HistogramOpts::new(
                "http_request_duration_seconds",
                "Time from the head of a request to its answer.",
            )
            .buckets(BUCKETS.to_vec()),
            &["method", "route", "status"],
        )?;
        let in_flight = IntGauge::new(
            "http_requests_in_flight",
            "Requests that have no answer yet.",
        )?;
        let build_info = Gauge::with_opts(
            Opts::new("build_info", "Always 1; the labels say what runs.")
                .const_label("service", env!("CARGO_PKG_NAME"))
                .const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        build_info.set(1.0);
        registry.register(Box::new(request_duration.clone()))?;
        let idempotency = IntCounterVec::new(
            Opts::new(
                "idempotency_requests_total",
                "Requests with an idempotency key, by what came of them.",
            ),
            &["result"],
        )?;
        let hashing = Hashing::new(&registry)?;
        let duplicates = IntCounter::new(
            "signup_duplicate_attempts_total",
            "Signups for an address that had an account.",
        )?;
        let replays = IntCounterVec::new(
            Opts::new(
                "idempotency_replays_total",
                "Answers given again, by where they were found.",
            ),
            &["tier"],
        )?;
        let keys_in_flight = IntGauge::new(
            "idempotency_keys_in_flight",
            "Idempotency keys that a request of this process works on.",
        )?;
        let breakers = IntGaugeVec::new(
            Opts::new(
                "circuit_breaker_open",
                "1 while a dependency is left alone because it failed.",
            ),
            &["dependency"],
        )?;
        registry.register(Box::new(in_flight.clone()))?;
        registry.register(Box::new(replays.clone()))?;
        registry.register(Box::new(keys_in_flight.clone()))?;
        registry.register(Box::new(breakers.clone()))?;
        registry.register(Box::new(idempotency.clone()))?;
        registry.register(Box::new(duplicates.clone()))?;
        registry.register(Box::new(build_info))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        Ok(Self {
            registry,
            request_duration,
            in_flight,
            idempotency,
            replays,
            keys_in_flight,
            breakers,
            duplicates,
            hashing,
        })
    }

    /// Counts a request as in flight until the guard is dropped.
    #[must_use]
    pub fn request_begins(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts an answered request. `route` is the pattern that matched, never the path.
    pub fn request_ended(&self, method: &str, route: &str, status: u16, took: Duration) {
        // Methods are free text in HTTP, and a label must be bounded.
        let method = match method {
            "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" => method,
            _ => "other",
        };
        self.request_duration
            .with_label_values(&[method, route, status_text(status)])
            .observe(took.as_secs_f64());
    }

    /// Counts a request with an idempotency key, once it is answered.
    pub fn idempotency(&self, result: IdempotencyResult) {
        let result = match result {
            IdempotencyResult::First => "first",
            IdempotencyResult::Replayed => "replayed",
            IdempotencyResult::Mismatch => "mismatch",
            IdempotencyResult::InFlight => "in_flight",
        };
        self.idempotency.with_label_values(&[result]).inc();
    }

    /// Counts a request that got the answer of the first.
    pub fn replayed(&self, tier: ReplayTier) {
        let tier = match tier {
            ReplayTier::Redis => "redis",
            ReplayTier::Database => "database",
        };
        self.replays.with_label_values(&[tier]).inc();
        self.idempotency(IdempotencyResult::Replayed);
    }

    /// Counts a key as in flight until the guard is dropped.
    #[must_use]
    pub fn key_begins(&self) -> InFlight {
        self.keys_in_flight.inc();
        InFlight(self.keys_in_flight.clone())
    }

    /// Notes whether Redis is left alone.
    pub fn redis_breaker(&self, open: bool) {
        let breaker = self.breakers.with_label_values(&["redis"]);
        breaker.set(i64::from(open));
    }

    /// Counts a signup for an address that had an account.
    pub fn duplicate_signup(&self) {
        self.duplicates.inc();
    }

    /// Notes how many passwords wait for a lane.
    pub fn hashes_waiting(&self, count: usize) {
        self.hashing.waiting.set(integer(count));
    }

    /// Notes how many lanes are in use, over all threads.
    pub fn lanes_in_use(&self, count: usize) {
        self.hashing.lanes.set(integer(count));
    }

    /// Counts a slice that moved so many hashes forward.
    pub fn hash_batch(&self, lanes: usize) {
        #[expect(clippy::cast_precision_loss, reason = "eight at most")]
        self.hashing.batch.observe(lanes as f64);
    }

    /// Counts a password that waited so long for its lane.
    pub fn hash_waited(&self, time: Duration) {
        self.hashing.wait.observe(time.as_secs_f64());
    }

    /// Counts a hash that took so long, from its first slice to its last.
    pub fn hash_took(&self, time: Duration) {
        self.hashing.duration.observe(time.as_secs_f64());
    }

    /// Counts a password that was not hashed.
    pub fn hash_refused(&self, reason: HashRefused) {
        let reason = match reason {
            HashRefused::QueueFull => "queue_full",
            HashRefused::Deadline => "deadline",
            HashRefused::Early => "early",
        };
        self.hashing.refused.with_label_values(&[reason]).inc();
    }

    /// Everything, in Prometheus' text format.
    ///
    /// # Errors
    /// When a metric can't be encoded.
    pub fn encode(&self) -> prometheus::Result<String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl Hashing {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let histogram =
                Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let refused = IntCounterVec::new(
            Opts::new(
                "password_hash_rejected_total",
                "Passwords that were not hashed because of too much load.",
            ),
            &["reason"],
        )?;
        registry.register(Box::new(refused.clone()))?;
        Ok(Self {
            waiting: gauge(
                "password_hash_queue_depth",
                "Passwords that wait for a lane.",
            )?,
            lanes: gauge("password_hash_lanes_in_use", "Password hashes under way.")?,
            batch: histogram(
                "password_hash_batch_size",
                "Hashes that were moved forward together in a slice.",
                &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
            )?,
            wait: histogram(
                "password_hash_wait_seconds",
                "Time that a password waited for its lane.",
                &BUCKETS,
            )?,
            duration: histogram(
                "password_hash_duration_seconds",
                "Time from the first slice of a password hash to its last.",
                &BUCKETS,
            )?,
            refused,
        })
    }
}

fn integer(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Statuses as text without an allocation for those that are answered.
fn status_text(status: u16) -> &'static str {
    match status {
        200 => "200",
        201 => "201",
        307 => "307",
        400 => "400",
        404 => "404",
        405 => "405",
        408 => "408",
        409 => "409",
        413 => "413",
        415 => "415",
        422 => "422",
        429 => "429",
        431 => "431",
        500 => "500",
        503 => "503",
        _ => "other",
    }
}

/// What has no answer yet.
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
