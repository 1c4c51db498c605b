//! `Idempotency-Key`: a request that is sent again gets the answer that it got before.
//!
//! A slice opts in by taking an [`IdempotencyHeader`] in its handler, which refuses headers that
//! are no key, or that miss one, before the body is read; and by asking [`Idempotency::begin`]
//! once it knows what the request wants. What is then to be executed comes with a [`Claim`], which
//! the slice's store commits with everything else. The fingerprint is over the values of the
//! request and not over its bytes, so a request has to be read before its key can be answered.

mod flights;
mod header;
mod sealed;
mod secrets;
mod shared;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use actix_web::http::{StatusCode, header as http_header};

use crate::domain::{Answer, Claim, IdempotencyKey, Record};
use crate::lifecycle::Lifecycle;
use crate::platform::clock::Clock;
use crate::platform::context;
use crate::platform::database::records::Records;
use crate::platform::faults;
use crate::platform::metrics::{IdempotencyResult, InFlight, Metrics, ReplayTier};
use crate::platform::problem::{Problem, ProblemType, error_chain};
use flights::{Entered, Flight, Flights};
use shared::{Lease, Seen};

pub use header::IdempotencyHeader;
pub use secrets::{SecretError, Secrets};
pub use shared::Shared;

/// How long a request waits for the same request that is still running.
const WAIT: Duration = Duration::from_secs(2);

/// What is kept of a request's time for the answer that the other is still running.
const RESERVE: Duration = Duration::from_millis(200);

/// How often a key may come with another request. Beyond it the key is of no more use: whoever
/// holds it could try passwords on it.
const MAX_MISMATCHES: u32 = 10;

/// How long to wait between two rounds of removing what has expired.
const PURGE_EVERY: Duration = Duration::from_secs(30);

/// How long a record is kept beyond its end, at most: the clocks of two instances may differ.
const PURGE_MARGIN: Duration = Duration::from_mins(1);

/// Records that are removed in one transaction.
const PURGE_BATCH: u32 = 500;

/// Says that an answer was given before.
const REPLAYED: &str = "idempotent-replayed";

/// Knows what was answered to which key.
pub struct Idempotency {
    /// Make names of keys and requests.
    pub secrets: Secrets,
    /// Whether every request must have a key.
    pub required: bool,
    /// How long an answer is kept.
    pub ttl: Duration,
    /// The records.
    pub records: Records,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Says when to stop removing what has expired.
    pub lifecycle: Lifecycle,
    /// Counts.
    pub metrics: Metrics,
    /// What is running in this process.
    pub flights: Arc<Flights>,
    /// What is known to all instances, where there is a Redis.
    pub shared: Option<Shared>,
}

/// What is to be done with a request.
pub enum Begun {
    /// It was answered before.
    Replay(HttpResponse),
    /// It has no key.
    Unkeyed,
    /// It is the first of its key, as far as is known.
    First(Box<First>),
}

/// The first request of a key. While it is held, others of the key wait.
pub struct First {
    /// To be committed with what the request writes.
    pub claim: Claim,
    lease: Option<Lease>,
    metrics: Metrics,
    _flight: Option<Flight>,
    _counted: InFlight,
}

impl First {
    /// Takes note of the answer that was committed.
    pub fn answered(self, answer: &Answer) {
        self.metrics.idempotency(IdempotencyResult::First);
        if let Some(lease) = self.lease {
            lease.answer(answer, self.claim.life);
        }
        faults::point("RESPONSE");
    }
}

impl Idempotency {
    /// Looks whether this request of the key was answered, waiting for one that is running.
    ///
    /// `scope` says what the key is used on; `fields` are the values of the request, in an order
    /// of their own.
    ///
    /// # Errors
    /// The problem to answer with.
    pub async fn begin(
        &self,
        key: Option<IdempotencyKey>,
        scope: &str,
        fields: &[Option<&[u8]>],
    ) -> Result<Begun, Problem> {
        let Some(key) = key else {
            return Ok(Begun::Unkeyed);
        };
        let claim = Claim {
            current: self.secrets.current(scope, &key, fields),
            identities: self.secrets.identities(scope, &key, fields),
            life: self.ttl,
        };
        let end = Instant::now() + WAIT;
        let deadline = context::with_current(|context| context.map(|context| context.deadline));
        let deadline = deadline.unwrap_or(end);
        // A little before the deadline, so that there is time to say so.
        let end = end.min(deadline.checked_sub(RESERVE).unwrap_or(deadline));
        loop {
            match self.flights.enter(&claim) {
                Entered::First(flight) => return self.first(claim, flight, end, deadline).await,
                Entered::Running(mut ended) => {
                    // An error says that it has ended, which is what is waited for.
                    let waited = tokio::time::timeout_at(end.into(), ended.changed()).await;
                    if waited.is_err() {
                        return Err(self.in_progress());
                    }
                }
            }
        }
    }

    /// Looks for an answer, as the one of this process that does for the key.
    async fn first(
        &self,
        claim: Claim,
        flight: Option<Flight>,
        end: Instant,
        deadline: Instant,
    ) -> Result<Begun, Problem> {
        let counted = self.metrics.key_begins();
        let mut seen = match &self.shared {
            Some(shared) => shared.look(&claim, deadline).await,
            None => Seen::Nothing,
        };
        if let (Seen::Running, Some(shared)) = (&seen, &self.shared) {
            // It may have been answered all the same: a lease can be left behind, or forged.
            if let Some(record) = self.find(&claim).await? {
                return Ok(Begun::Replay(self.settle(&claim, record).await?));
            }
            seen = shared.wait(&claim, end, deadline).await;
        }
        let is_running = matches!(seen, Seen::Running);
        let lease = match seen {
            Seen::Answered(answer) => {
                return Ok(Begun::Replay(self.replay(answer, ReplayTier::Redis)));
            }
            Seen::Free(lease) => Some(lease),
            Seen::Running | Seen::Nothing => None,
        };
        // Also where it is said to run: the instance that ran it may have ended since.
        if let Some(record) = self.find(&claim).await? {
            return Ok(Begun::Replay(self.settle(&claim, record).await?));
        }
        if is_running {
            return Err(self.in_progress());
        }
        Ok(Begun::First(Box::new(First {
            claim,
            lease,
            metrics: self.metrics.clone(),
            _flight: flight,
            _counted: counted,
        })))
    }

    fn in_progress(&self) -> Problem {
        self.metrics.idempotency(IdempotencyResult::InFlight);
        Problem::new(
            ProblemType::RequestInProgress,
            "A request of this Idempotency-Key is still running.",
        )
        .retry_after(Duration::from_secs(1))
    }

    /// Answers by a record: with its answer where it is of this request.
    ///
    /// # Errors
    /// The problem to answer with, where it is of another.
    pub async fn settle(&self, claim: &Claim, record: Record) -> Result<HttpResponse, Problem> {
        let is_same = claim.identities.iter().any(|identity| {
            identity.key == record.key && identity.fingerprint == record.fingerprint
        });
        let mut mismatches = record.mismatches;
        // A key that is worn out stays so: nothing is written for it any more.
        if !is_same && mismatches <= MAX_MISMATCHES {
            let counting = self
                .records
                .count_mismatch(&claim.identities, MAX_MISMATCHES);
            mismatches = counting.await?;
            if let Some(shared) = &self.shared {
                shared.withdraw(claim).await;
            }
        }
        if !is_same || mismatches > MAX_MISMATCHES {
            self.metrics.idempotency(IdempotencyResult::Mismatch);
        }
        if mismatches > MAX_MISMATCHES {
            return Err(Problem::new(
                ProblemType::IdempotencyKeyExhausted,
                "This Idempotency-Key came with too many different requests.",
            ));
        }
        if !is_same {
            return Err(Problem::new(
                ProblemType::IdempotencyKeyReused,
                "This Idempotency-Key was used with another request.",
            ));
        }
        Ok(self.replay(record.answer, ReplayTier::Database))
    }

    fn replay(&self, answer: Answer, tier: ReplayTier) -> HttpResponse {
        self.metrics.replayed(tier);
        tracing::info!(status = answer.status, "answer replayed");
        respond(answer, true)
    }

    /// Removes records that have expired, now and then, until the service stops.
    pub fn purge_in_the_background(self: Arc<Self>) {
        let pause = PURGE_EVERY.min(self.ttl);
        self.metrics.purge_completed(self.clock.now());
        let lifecycle = self.lifecycle.clone();
        lifecycle.clone().spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = lifecycle.stopping() => return,
                }
                self.purge().await;
            }
        });
    }

    /// Removes what has expired, in small batches, so that no signup waits for long.
    async fn purge(&self) {
        while !self.lifecycle.is_stopping() {
            let now = self.clock.now();
            let margin = PURGE_MARGIN.min(self.ttl);
            match self.records.purge(now, margin, PURGE_BATCH).await {
                Ok(purged) => {
                    self.metrics.records_purged(purged);
                    if purged < u64::from(PURGE_BATCH) {
                        self.metrics.purge_completed(now);
                        return;
                    }
                }
                Err(error) => {
                    let reason = error_chain(&error);
                    tracing::warn!(reason, "expired idempotency records were not removed");
                    return;
                }
            }
        }
    }

    async fn find(&self, claim: &Claim) -> Result<Option<Record>, Problem> {
        Ok(self
            .records
            .find(&claim.identities, self.clock.now())
            .await?)
    }
}

/// An answer as a response.
#[must_use]
pub fn respond(answer: Answer, replayed: bool) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    if let Some(kind) = ProblemType::of(&answer) {
        // For the log.
        response.extensions_mut().insert(kind);
    }
    response.content_type(answer.content_type);
    if let Some(location) = answer.location {
        response.insert_header((http_header::LOCATION, location));
    }
    if replayed {
        response.insert_header((REPLAYED, "true"));
    }
    response.body(answer.body)
}
