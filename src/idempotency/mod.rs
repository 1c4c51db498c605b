//! Commands that are executed once per key, however often they are sent.
//!
//! [`Idempotency::begin`] looks up whether a key has an outcome, and waits for one that is in
//! progress. A command still to be executed gets an [`Execution`]: it writes through it, and its
//! outcome commits with its writes ([`Keyed`]). Nothing here depends on HTTP: a transport renders
//! an outcome in the same way whether it is fresh or replayed.
//!
//! To make another command keyed, implement [`Outcome`] for its outcome, and write its unit of work
//! by [`Execution::write`].

mod encryption;
mod fingerprint;
mod key;
mod keyed;
mod lease;
mod metrics;
pub mod record;
mod single_flight;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::{StoreError, UserId};
use crate::lifecycle::Lifecycle;
use crate::platform::clock::{self, Clock};
use crate::platform::context;
use crate::platform::database::{Database, UnitOfWork};
use crate::platform::errors::error_chain;
use crate::platform::faults;
use crate::platform::limits::{Bound, Limit};
use crate::platform::metrics::InFlight;
use crate::platform::tasks::why_ended;
use crate::platform::telemetry::spans;
use lease::{Lease, Seen};
use metrics::{IdempotencyResult, ReplayTier};
use record::{Record, Records, Stored};
use single_flight::{Entered, Flight, SingleFlight};

pub use fingerprint::{Claim, Identity, KeyFingerprint, RequestFingerprint, SecretError, Secrets};
pub use key::{IdempotencyKey, InvalidKey};
pub use keyed::Keyed;
pub use lease::LeaseStore;
pub use metrics::KeyMetrics;

/// How long a request waits for the same request that is still running.
const WAIT: Duration = Duration::from_secs(2);

/// The part of a request's time that is reserved for responding that the other is still running.
const RESERVE: Duration = Duration::from_millis(200);

/// How often a key may be used with another request. Beyond it the key is blocked: a holder of the
/// key could try passwords on it.
const MAX_MISMATCHES: u32 = 10;

/// The interval between two rounds of the purge.
const PURGE_EVERY: Duration = Duration::from_secs(30);

/// How long a record is kept after it expires, at most: the clocks of two instances may differ.
const PURGE_MARGIN: Duration = Duration::from_mins(1);

/// Records removed per transaction.
const PURGE_BATCH: u32 = 500;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    Limit {
        what: "Wait for a request of the same key",
        bound: Bound::Time(WAIT),
        effect: "409 `request-in-progress`",
    },
    Limit {
        what: "Uses of a key with other values",
        bound: Bound::Count(MAX_MISMATCHES as usize),
        effect: "429 `idempotency-key-exhausted`",
    },
    Limit {
        what: "Life of a record",
        bound: Bound::Setting("IDEMPOTENCY_TTL_SECONDS"),
        effect: "the key is unknown",
    },
    Limit {
        what: "Keys of one instance that run at a time",
        bound: Bound::Count(single_flight::MAX_FLIGHTS),
        effect: "further ones do not wait for each other",
    },
    Limit {
        what: "Copy of an outcome in Redis",
        bound: Bound::Time(lease::OUTCOME_LIFE),
        effect: "the record in the database is read",
    },
    Limit {
        what: "Expired records removed in one transaction",
        bound: Bound::Count(PURGE_BATCH as usize),
        effect: "the rest follows in further transactions",
    },
    Limit {
        what: "Characters of a key",
        bound: Bound::Count(key::MAX_LENGTH),
        effect: "400 `idempotency-key-invalid`",
    },
    Limit {
        what: "Line of the header, quotes and parameters included",
        bound: Bound::Bytes(key::MAX_LINE),
        effect: "400 `idempotency-key-invalid`",
    },
];

/// The outcome of a keyed command. A record keeps it as JSON for the life of its key, also across
/// releases, so its form is a contract with the releases before and after.
pub trait Outcome: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The version of the form. An instance that reads a newer version than it knows reports that
    /// it is unavailable: a newer instance can respond.
    const VERSION: i16;

    /// Whether the key has this outcome for good. If not, nothing is written or recorded, and a retry
    /// executes the command again.
    fn is_final(&self) -> bool {
        true
    }

    /// The user whose name or address is part of it. When the user is erased, the outcome becomes
    /// `"account_erased"`, which an outcome with a subject MUST read.
    fn subject(&self) -> Option<UserId> {
        None
    }

    /// Parses an outcome that was recorded in this form; `None` if it is invalid. An outcome whose
    /// form has changed also parses its older forms.
    #[must_use]
    fn read(_version: i16, json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }
}

/// An outcome, and the id of the request that produced it.
pub struct Recorded<O> {
    /// The outcome of the command.
    pub outcome: O,
    /// The id of the request that produced it.
    pub request_id: String,
    /// Whether that was an earlier request.
    pub is_replay: bool,
}

/// Why a keyed command has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The first request of the key is still running.
    #[error("a request of this key is still running")]
    InProgress,
    /// The key was used with another request.
    #[error("the key was used with another request")]
    Reused,
    /// The key was used with too many other requests.
    #[error("the key was used with too many other requests")]
    Exhausted,
    /// The store failed; a write may have happened all the same.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Executes commands once per key.
pub struct Idempotency {
    /// The secrets for fingerprints of keys and requests.
    pub secrets: Secrets,
    /// How long an outcome is kept.
    pub ttl: Duration,
    /// The records.
    pub records: Records,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Stops the purge at shutdown.
    pub lifecycle: Lifecycle,
    /// The metrics.
    pub metrics: KeyMetrics,
    /// The keys that are running in this process.
    pub running: Arc<SingleFlight>,
    /// The state shared by all instances, if Redis is configured.
    pub leases: Option<LeaseStore>,
}

/// What to do with a request.
pub enum Begun<O> {
    /// Return the outcome of its key.
    Replay(Recorded<O>),
    /// Execute it.
    Execute(Execution),
}

/// The execution of a command: the first of its key, as far as is known, or one without a key.
/// While it is held, other requests with the key wait.
pub struct Execution {
    first: Option<Box<First>>,
}

struct First {
    idempotency: Arc<Idempotency>,
    claim: Claim,
    lease: Option<Lease>,
    _flight: Option<Flight>,
    _counted: InFlight,
}

impl Idempotency {
    /// Looks up whether this request has an outcome for its key, waiting for one that is running.
    ///
    /// `scope` is what the key applies to; `fields` are the values of the request, in a fixed
    /// order. The fingerprint is over these and not over the request's bytes.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn begin<O: Outcome>(
        self: &Arc<Self>,
        key: Option<IdempotencyKey>,
        scope: &str,
        fields: &[Option<&[u8]>],
    ) -> Result<Begun<O>, Error> {
        spans::within("idempotency look-up", self.look_up(key, scope, fields)).await
    }

    async fn look_up<O: Outcome>(
        self: &Arc<Self>,
        key: Option<IdempotencyKey>,
        scope: &str,
        fields: &[Option<&[u8]>],
    ) -> Result<Begun<O>, Error> {
        let Some(key) = key else {
            return Ok(Begun::Execute(Execution::without_key()));
        };
        let claim = self.secrets.claim(scope, &key, fields, self.ttl);
        let end = clock::monotonic() + WAIT;
        let deadline = context::with_current(|context| context.map(|context| context.deadline));
        let deadline = deadline.unwrap_or(end);
        // A little before the deadline, so that there is time to respond.
        let end = end.min(deadline.checked_sub(RESERVE).unwrap_or(deadline));
        loop {
            match self.running.enter(&claim) {
                Entered::First(flight) => return self.first(claim, flight, end, deadline).await,
                Entered::Running(mut ended) => {
                    // An error means that it has ended, which is what this waits for.
                    let waited = tokio::time::timeout_at(end.into(), ended.changed()).await;
                    if waited.is_err() {
                        return Err(self.in_progress());
                    }
                }
            }
        }
    }

    /// Looks up an outcome, as the only request of this process that does so for the key.
    async fn first<O: Outcome>(
        self: &Arc<Self>,
        claim: Claim,
        flight: Option<Flight>,
        end: Instant,
        deadline: Instant,
    ) -> Result<Begun<O>, Error> {
        let counted = self.metrics.begins();
        let mut seen = match &self.leases {
            Some(leases) => leases.look(&claim, deadline).await,
            None => Seen::Nothing,
        };
        if let (Seen::Running, Some(leases)) = (&seen, &self.leases) {
            // It may have an outcome all the same: a lease can be left over, or forged.
            if let Some(record) = self.find(&claim).await? {
                return Ok(Begun::Replay(self.settle(&claim, record).await?));
            }
            seen = leases.wait(&claim, end, deadline).await;
        }
        let is_running = matches!(seen, Seen::Running);
        let lease = match seen {
            Seen::Stored(stored) => {
                return Ok(Begun::Replay(self.replay(&stored, ReplayTier::Redis)?));
            }
            Seen::Free(lease) => Some(lease),
            Seen::Running | Seen::Nothing => None,
        };
        // Also if it is reported as running: the instance that ran it may have ended since.
        if let Some(record) = self.find(&claim).await? {
            return Ok(Begun::Replay(self.settle(&claim, record).await?));
        }
        if is_running {
            return Err(self.in_progress());
        }
        Ok(Begun::Execute(Execution {
            first: Some(Box::new(First {
                idempotency: Arc::clone(self),
                claim,
                lease,
                _flight: flight,
                _counted: counted,
            })),
        }))
    }

    fn in_progress(&self) -> Error {
        self.metrics.ended(IdempotencyResult::InFlight);
        Error::InProgress
    }

    /// The outcome of a record, if it belongs to this request.
    async fn settle<O: Outcome>(
        &self,
        claim: &Claim,
        record: Record,
    ) -> Result<Recorded<O>, Error> {
        let is_same = claim
            .identities
            .iter()
            .any(|identity| identity.key == record.key && identity.request == record.request);
        let mut mismatches = record.mismatches;
        // An exhausted key stays so: nothing is written for it any more.
        if !is_same && mismatches <= MAX_MISMATCHES {
            // One task for all of them: a client that disconnects would leave some uncounted.
            let (records, identities) = (self.records.clone(), claim.identities.clone());
            let counting = self
                .lifecycle
                .spawn(async move { records.count_mismatch(&identities, MAX_MISMATCHES).await });
            mismatches = counting
                .await
                .map_err(|error| StoreError::unavailable(why_ended(&error)))??;
            if let Some(leases) = &self.leases {
                let keys: Vec<_> = claim.identities.iter().map(|one| one.key).collect();
                leases.withdraw(&keys).await;
            }
        }
        if !is_same || mismatches > MAX_MISMATCHES {
            self.metrics.ended(IdempotencyResult::Mismatch);
        }
        if mismatches > MAX_MISMATCHES {
            return Err(Error::Exhausted);
        }
        if !is_same {
            return Err(Error::Reused);
        }
        self.replay(&record.stored, ReplayTier::Database)
    }

    fn replay<O: Outcome>(&self, stored: &Stored, tier: ReplayTier) -> Result<Recorded<O>, Error> {
        let outcome = stored.read()?;
        self.metrics.replayed(tier);
        Ok(Recorded {
            outcome,
            request_id: stored.request_id.clone(),
            is_replay: true,
        })
    }

    /// Purges expired records periodically, until the service stops.
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

    /// Removes expired records, in small batches, so that no command waits for long.
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
                    tracing::warn!(reason, "cannot purge expired idempotency records");
                    return;
                }
            }
        }
    }

    /// Removes the copies of the outcomes of these keys in Redis, after their records have changed.
    pub async fn forget(&self, keys: &[KeyFingerprint]) {
        if let Some(leases) = &self.leases {
            leases.withdraw(keys).await;
        }
    }

    async fn find(&self, claim: &Claim) -> Result<Option<Record>, StoreError> {
        self.records.find(&claim.identities, self.clock.now()).await
    }
}

impl Execution {
    /// The execution of a command without a key.
    #[must_use]
    pub const fn without_key() -> Self {
        Self { first: None }
    }

    /// Writes a unit of work, and its outcome if there is a key. If another execution of the key
    /// was faster, nothing is written, and its outcome is returned.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn write<W: UnitOfWork>(
        self,
        database: &Database,
        work: W,
    ) -> Result<Recorded<W::Outcome>, Error>
    where
        W::Outcome: Outcome,
    {
        let request_id = context::with_current(|context| {
            context.map_or_else(String::new, |context| context.request_id.clone())
        });
        let Some(first) = self.first else {
            return Ok(Recorded {
                outcome: database.write(work).await?,
                request_id,
                is_replay: false,
            });
        };
        let idempotency = first.idempotency;
        let keyed = Keyed {
            claim: first.claim.clone(),
            now: idempotency.clock.now(),
            request_id,
            work,
        };
        let Some((outcome, stored)) = database.write(keyed).await? else {
            // Only now: within the transaction, its own claim would be found.
            let found = idempotency.find(&first.claim).await?;
            let record = found.ok_or_else(record::expired_meanwhile)?;
            return idempotency.settle(&first.claim, record).await;
        };
        idempotency.metrics.ended(IdempotencyResult::First);
        let request_id = stored.request_id.clone();
        if outcome.is_final()
            && let Some(lease) = first.lease
        {
            lease.share(stored, first.claim.life);
        }
        faults::point("RESPONSE");
        Ok(Recorded {
            outcome,
            request_id,
            is_replay: false,
        })
    }
}
