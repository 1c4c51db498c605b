//! Readiness checks, each with its own time limit.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::access::feed::{Feed, STALE_AFTER};
use crate::breached::{self, Breached};
use crate::dependencies::Dependencies;
use crate::lifecycle::Lifecycle;
use crate::platform::clock::{self, Clock};
use crate::platform::database::{self, Database, Statement, migrate};
use crate::platform::limits::{Bound, Limit};
use crate::platform::machine::{Machine, Sample};
use crate::platform::metrics::Metrics;
use crate::platform::redis::Redis;

/// The time limit of a check. They run concurrently.
const LIMIT: Duration = Duration::from_secs(2);

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    Limit {
        what: "One check of `/ready`",
        bound: Bound::Time(LIMIT),
        effect: "the check is `timed_out`",
    },
    Limit {
        what: "Age of a report of `/ready`",
        bound: Bound::Time(FRESH),
        effect: "the checks run again",
    },
];

/// How long a report is reused.
const FRESH: Duration = Duration::from_secs(1);

/// Memory and disk above this many percent make the service not ready.
const FULL_PERCENT: f64 = 95.0;

/// Runs the checks.
pub struct Checks {
    database: Database,
    readable: Arc<[&'static Statement]>,
    redis: Option<Redis>,
    feed: Arc<Feed>,
    breached: Option<Arc<Breached>>,
    started: Instant,
    machine: Arc<Machine>,
    lifecycle: Lifecycle,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    /// The last report. Locked while a new one is made.
    last: Arc<Mutex<Last>>,
}

/// A report and its time; `None` at first.
type Last = Option<(Instant, Arc<Report>)>;

/// The outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It passed.
    Ok,
    /// It failed: the service is not ready.
    Failed,
    /// It exceeded its time limit: the service is not ready.
    TimedOut,
    /// It failed, but the service works without it. It may be ready.
    Degraded,
    /// The system does not report it. The service may be ready.
    Unknown,
}

/// The report of a check.
#[derive(Debug, Serialize, ToSchema)]
pub struct Check {
    /// The outcome.
    status: Status,
    /// The duration.
    #[schema(minimum = 0, example = 0.7)]
    duration_ms: f64,
    /// The usage, from 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0, maximum = 100, example = 41.5)]
    used_percent: Option<f64>,
    /// The number of pending migrations.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 0)]
    pending: Option<usize>,
    /// The date of the list of breached passwords in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "2026-11-01T00:00:00.000000Z")]
    date: Option<String>,
    /// Its age in days.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 0, example = 26)]
    age_days: Option<i64>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = "read-only")]
    detail: Option<String>,
}

/// The report of all checks.
#[derive(Debug, Serialize, ToSchema)]
pub struct Report {
    /// Fails while the service is shutting down.
    running: Check,
    /// The database responds and accepts writes.
    database: Check,
    /// Every migration is applied.
    migrations: Check,
    /// Redis accepts writes. Never fails: the service works without it. Missing if Redis is not
    /// configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    redis: Option<Check>,
    /// Revocations and roles were read within the last 10 s. Never fails: otherwise protected requests
    /// ask the database.
    revocations: Check,
    /// The file of breached passwords can be used. Never fails: otherwise an earlier list is in use, or none.
    /// Missing if there is no list.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    breached_passwords: Option<Check>,
    /// The CPU usage. Never fails: a busy service is ready.
    cpu: Check,
    /// The memory usage, of the container's limit if there is one. Fails above 95.
    memory: Check,
    /// The usage of the disk with the data folder. Fails above 95.
    disk: Check,
}

impl Report {
    /// The checks that must pass.
    fn needed(&self) -> [(&'static str, &Check); 6] {
        [
            ("running", &self.running),
            ("database", &self.database),
            ("migrations", &self.migrations),
            ("cpu", &self.cpu),
            ("memory", &self.memory),
            ("disk", &self.disk),
        ]
    }

    /// Whether the service is ready.
    pub fn is_ready(&self) -> bool {
        self.needed().iter().all(|(_, check)| check.holds())
    }

    fn is_stopping(&self) -> bool {
        self.running.status == Status::Failed
    }

    fn redis_status(&self) -> Option<Status> {
        self.redis.as_ref().map(|check| check.status)
    }

    /// Records the outcomes of the checks.
    fn measure(&self, metrics: &Metrics) {
        let redis = self.redis.iter().map(|check| ("redis", check));
        let breached = self.breached_passwords.iter();
        let others = redis
            .chain([("revocations", &self.revocations)])
            .chain(breached.map(|check| ("breached_passwords", check)));
        for (name, check) in self.needed().into_iter().chain(others) {
            metrics.readiness_check(name, check.holds());
        }
        metrics.readiness(self.is_ready());
    }
}

impl Check {
    fn holds(&self) -> bool {
        matches!(self.status, Status::Ok | Status::Unknown)
    }

    fn of(status: Status) -> Self {
        Self {
            status,
            duration_ms: 0.0,
            used_percent: None,
            pending: None,
            date: None,
            age_days: None,
            detail: None,
        }
    }

    fn failed(detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::of(Status::Failed)
        }
    }

    /// A usage that fails above the limit; `None` if the system does not report it.
    fn of_percent(used: Option<f64>, limit: f64) -> Self {
        let status = match used {
            None => Status::Unknown,
            Some(used) if used > limit => Status::Failed,
            Some(_) => Status::Ok,
        };
        Self {
            used_percent: used,
            ..Self::of(status)
        }
    }
}

impl Checks {
    pub fn new(dependencies: &Dependencies) -> Self {
        Self {
            database: dependencies.database.clone(),
            readable: Arc::clone(&dependencies.readable),
            redis: dependencies.redis.clone(),
            feed: Arc::clone(&dependencies.feed),
            breached: dependencies.breached.clone(),
            started: dependencies.started,
            machine: Arc::clone(&dependencies.machine),
            lifecycle: dependencies.lifecycle.clone(),
            metrics: dependencies.metrics.clone(),
            clock: Arc::clone(&dependencies.clock),
            last: Arc::default(),
        }
    }

    /// The report of the checks, at most a second old. Only one round runs at a time, for all
    /// callers, and even if no caller waits for it any more: so requests are cheap.
    pub async fn report(self: &Arc<Self>) -> Arc<Report> {
        let mut last = Arc::clone(&self.last).lock_owned().await;
        if let Some((at, report)) = last.as_ref()
            && self.clock.instant().saturating_duration_since(*at) < FRESH
            && self.lifecycle.is_stopping() == report.is_stopping()
            && self.redis.as_ref().map(|redis| of_redis(redis).status) == report.redis_status()
        {
            return Arc::clone(report);
        }
        let checks = Arc::clone(self);
        // On this thread, whose connections the query check uses.
        let round = tokio::task::spawn_local(async move {
            let report = Arc::new(checks.run().await);
            report.measure(&checks.metrics);
            *last = Some((checks.clock.instant(), Arc::clone(&report)));
            report
        });
        match round.await {
            Ok(report) => report,
            Err(_) => Arc::new(self.broken()),
        }
    }

    /// Runs every check.
    async fn run(&self) -> Report {
        let running = if self.lifecycle.is_stopping() {
            Check::failed("the service is shutting down")
        } else {
            Check::of(Status::Ok)
        };
        let (database, migrations, (cpu, memory, disk)) =
            tokio::join!(self.database(), self.migrations(), self.machine());
        Report {
            running,
            database,
            migrations,
            redis: self.redis.as_ref().map(of_redis),
            revocations: self.revocations(),
            breached_passwords: self.breached_passwords(),
            cpu,
            memory,
            disk,
        }
    }

    /// The report if the checks did not complete.
    fn broken(&self) -> Report {
        let broken = || Check::failed("the check did not complete");
        Report {
            running: broken(),
            database: broken(),
            migrations: broken(),
            redis: self.redis.as_ref().map(of_redis),
            revocations: self.revocations(),
            breached_passwords: self.breached_passwords(),
            cpu: broken(),
            memory: broken(),
            disk: broken(),
        }
    }

    fn revocations(&self) -> Check {
        let age = self.feed.age();
        of_revocations(age.unwrap_or_else(|| clock::since(self.started)))
    }

    fn breached_passwords(&self) -> Option<Check> {
        let list = self.breached.as_ref()?;
        Some(of_breached(list.status(), self.clock.now()))
    }

    async fn database(&self) -> Check {
        let database = self.database.clone();
        let writes = self.timed(async move {
            match database.check_writable().await {
                Ok(()) => Check::of(Status::Ok),
                Err(reason) => Check::failed(reason),
            }
        });
        // Queries use connections of this thread.
        let reads = tokio::time::timeout(LIMIT, self.database.check_readable(&self.readable));
        let (writes, reads) = tokio::join!(writes, reads);
        match (&writes.status, reads) {
            (Status::Ok, Ok(Err(reason))) => Check {
                duration_ms: writes.duration_ms,
                ..Check::failed(reason)
            },
            (Status::Ok, Err(_)) => Check {
                duration_ms: writes.duration_ms,
                ..Check::of(Status::TimedOut)
            },
            _ => writes,
        }
    }

    async fn migrations(&self) -> Check {
        let database = self.database.clone();
        self.timed(async move {
            match migrate::pending(&database).await {
                Ok(pending) => Check {
                    pending: Some(pending.len()),
                    detail: (!pending.is_empty())
                        .then(|| "run `signup-service migrate`".to_owned()),
                    ..Check::of(if pending.is_empty() {
                        Status::Ok
                    } else {
                        Status::Failed
                    })
                },
                Err(error) => {
                    tracing::warn!(
                        reason = database::describe_error(&error),
                        "migrations check failed"
                    );
                    Check::failed("no response")
                }
            }
        })
        .await
    }

    async fn machine(&self) -> (Check, Check, Check) {
        let begun = clock::monotonic();
        let sample = tokio::time::timeout(LIMIT, self.machine.sample()).await;
        let duration_ms = millis(begun);
        let checks = match sample {
            Ok(Some(sample)) => of_sample(sample),
            Ok(None) => [(); 3].map(|()| Check::of(Status::Unknown)),
            Err(_) => [(); 3].map(|()| Check::of(Status::TimedOut)),
        };
        checks
            .map(|check| Check {
                duration_ms,
                ..check
            })
            .into()
    }

    /// Runs a check as a task on the runtime of the write connections.
    async fn timed(&self, check: impl Future<Output = Check> + Send + 'static) -> Check {
        let begun = clock::monotonic();
        let task = self.lifecycle.spawn(tokio::time::timeout(LIMIT, check));
        let check = match task.await {
            Ok(Ok(check)) => check,
            Ok(Err(_)) => Check::of(Status::TimedOut),
            Err(_) => Check::failed("the check did not complete"),
        };
        Check {
            duration_ms: millis(begun),
            ..check
        }
    }
}

/// The state of the circuit breaker. A Redis that has not been used since may have failed.
fn of_redis(redis: &Redis) -> Check {
    if redis.is_usable() {
        return Check::of(Status::Ok);
    }
    Check {
        detail: Some("signups continue without it".to_owned()),
        ..Check::of(Status::Degraded)
    }
}

/// Revocations that were last read this long ago.
fn of_revocations(age: Duration) -> Check {
    if age <= STALE_AFTER {
        return Check::of(Status::Ok);
    }
    let seconds = age.as_secs();
    Check {
        detail: Some(format!(
            "not read for {seconds} s: protected requests ask the database"
        )),
        ..Check::of(Status::Degraded)
    }
}

/// The list of breached passwords in use.
fn of_breached(list: breached::Status, now: DateTime<Utc>) -> Check {
    let unreadable = |reason| format!("no password is looked up; the list: {reason}");
    let problem = |problem| format!("an earlier list is in use; the file: {problem}");
    let detail = list
        .unreadable
        .map(unreadable)
        .or(list.problem.map(problem));
    let status = match detail {
        None => Status::Ok,
        Some(_) => Status::Degraded,
    };
    Check {
        date: Some(clock::timestamp(list.date)),
        age_days: Some((now - list.date).num_days().max(0)),
        detail,
        ..Check::of(status)
    }
}

fn of_sample(sample: Sample) -> [Check; 3] {
    [
        Check::of_percent(Some(sample.cpu_percent), f64::INFINITY),
        Check::of_percent(Some(sample.memory_percent), FULL_PERCENT),
        Check::of_percent(sample.disk_percent, FULL_PERCENT),
    ]
}

fn millis(begun: Instant) -> f64 {
    (clock::since(begun).as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_revocations_degrade_the_service() {
        assert_eq!(of_revocations(STALE_AFTER).status, Status::Ok);
        let stale = of_revocations(STALE_AFTER + Duration::from_secs(2));
        assert_eq!(stale.status, Status::Degraded);
        let detail = stale.detail.expect("a detail");
        assert!(detail.starts_with("not read for 12 s"), "{detail}");
    }

    #[test]
    fn an_unusable_list_of_breached_passwords_degrades_the_service() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).expect("in range");
        let of = |problem: Option<&str>, unreadable: Option<&str>, now| {
            let list = breached::Status {
                date: at(1_000_000),
                problem: problem.map(str::to_owned),
                unreadable: unreadable.map(str::to_owned),
            };
            of_breached(list, at(now))
        };
        let fresh = of(None, None, 1_000_000 + 2 * 86_400);
        assert_eq!((fresh.status, fresh.age_days), (Status::Ok, Some(2)));
        assert_eq!(fresh.date.as_deref(), Some("1970-01-12T13:46:40.000000Z"));
        // The clock of the machine that downloaded it was fast.
        let unusable = of(Some("it is damaged"), None, 0);
        assert_eq!(
            (unusable.status, unusable.age_days),
            (Status::Degraded, Some(0))
        );
        let detail = unusable.detail.expect("a detail");
        assert!(detail.ends_with("the file: it is damaged"), "{detail}");
        for problem in [None, Some("it is damaged")] {
            let unreadable = of(problem, Some("it was changed in place"), 0);
            assert_eq!(unreadable.status, Status::Degraded);
            let detail = unreadable.detail.expect("a detail");
            assert!(detail.starts_with("no password is looked up"), "{detail}");
        }
    }

    #[test]
    fn memory_and_disk_fail_above_95_percent_and_cpu_never() {
        let statuses = |used| {
            of_sample(Sample {
                cpu_percent: used,
                memory_percent: used,
                disk_percent: Some(used),
            })
            .map(|check| check.status)
        };
        assert_eq!(statuses(95.0), [Status::Ok; 3]);
        assert_eq!(statuses(95.1), [Status::Ok, Status::Failed, Status::Failed]);
        let silent = of_sample(Sample {
            cpu_percent: 1.0,
            memory_percent: 1.0,
            disk_percent: None,
        });
        assert_eq!(silent[2].status, Status::Unknown);
    }
}
