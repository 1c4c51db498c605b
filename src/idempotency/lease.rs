//! Key state that instances share in Redis: running keys, and recent outcomes.
//!
//! A key has one value there. While the first request runs it is that request's lease, with a token
//! that only its owner knows; afterwards the outcome, for a minute: most retries come sooner, and
//! an outcome that could not be withdrawn expires then. Whatever Redis contains, the record decides
//! which request executes; a missing value costs a look-up or a hash.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tracing::Span;

use super::encryption;
use super::fingerprint::{Claim, Identity, KeyFingerprint};
use super::record::Stored;
use crate::lifecycle::Lifecycle;
use crate::platform::clock::{self, Clock, Randomness};
use crate::platform::faults;
use crate::platform::redis::{Redis, Unavailable};
use crate::platform::telemetry::spans;

/// How long an outcome is kept in Redis.
pub(super) const OUTCOME_LIFE: Duration = Duration::from_mins(1);

/// The interval between two polls of a running key: at first, and at most.
const POLL: Duration = Duration::from_millis(10);
const MAX_POLL: Duration = Duration::from_millis(160);

/// The maximum clock skew between two instances.
const MAX_SKEW: Duration = Duration::from_secs(5);

/// The first byte of a lease, and of an outcome. In a lease, its end in microseconds since 1970
/// follows, and a token.
const LEASE: u8 = b'L';
const OUTCOME: u8 = b'O';

/// The state shared by the instances.
#[derive(Clone)]
pub struct LeaseStore {
    /// The Redis that holds it.
    pub redis: Redis,
    /// Runs commands on the runtime of the connections.
    pub lifecycle: Lifecycle,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The source of tokens.
    pub randomness: Arc<dyn Randomness>,
    /// The maximum duration of a request.
    pub request_timeout: Duration,
}

/// The state of a key in Redis.
pub enum Seen {
    /// Unknown.
    Nothing,
    /// Not running; it is leased now.
    Free(Lease),
    /// Running on another instance.
    Running,
    /// This request has an outcome.
    Stored(Stored),
}

/// The lease of a running key. It is released when dropped.
pub struct Lease {
    store: LeaseStore,
    identity: Identity,
    value: Vec<u8>,
    is_held: bool,
}

impl LeaseStore {
    /// Reads the state of a claim's key, and leases it until the deadline if it is free.
    pub async fn look(&self, claim: &Claim, deadline: Instant) -> Seen {
        let (store, identity) = (self.clone(), claim.current);
        let life = deadline.saturating_duration_since(clock::monotonic());
        let question = async move { store.lease(identity, life).await };
        // The lease is created within the task: released even if the caller is cancelled.
        let seen = self.lifecycle.spawn(question).await;
        seen.unwrap_or(Seen::Nothing)
    }

    /// Polls a key that another instance runs, until it is not running any more, or until the end.
    pub async fn wait(&self, claim: &Claim, end: Instant, deadline: Instant) -> Seen {
        let mut pause = POLL;
        loop {
            // The last look is at the end, and not before it.
            let left = end.saturating_duration_since(clock::monotonic());
            if left.is_zero() {
                return Seen::Running;
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = MAX_POLL.min(pause * 2);
            let seen = self.look(claim, deadline).await;
            if !matches!(seen, Seen::Running) {
                return seen;
            }
        }
    }

    async fn lease(self, identity: Identity, life: Duration) -> Seen {
        let now = self.clock.now();
        let mut value = vec![LEASE];
        value.extend((now + life).timestamp_micros().to_be_bytes());
        value.extend(self.randomness.bytes());
        let name = name(identity.key);
        let found = self.redis.set_if_absent(&name, &value, life).await;
        let lease = |store| Lease {
            store,
            identity,
            value,
            is_held: true,
        };
        match found {
            Err(Unavailable) => {
                // The lease may have been set all the same, and would keep others waiting.
                drop(lease(self));
                Seen::Nothing
            }
            Ok(None) => Seen::Free(lease(self)),
            Ok(Some(found)) => match found.split_first() {
                Some((&LEASE, lease)) if self.is_alive(lease, now) => Seen::Running,
                Some((&OUTCOME, sealed)) => {
                    encryption::open(&identity, sealed, now).map_or(Seen::Nothing, Seen::Stored)
                }
                _ => Seen::Nothing,
            },
        }
    }

    /// Whether a request can hold this lease: a value left in Redis for ever must not block a key.
    fn is_alive(&self, lease: &[u8], now: DateTime<Utc>) -> bool {
        let longest = self.request_timeout + MAX_SKEW;
        lease
            .first_chunk()
            .and_then(|end| DateTime::from_timestamp_micros(i64::from_be_bytes(*end)))
            .is_some_and(|end| now - MAX_SKEW < end && end < now + longest)
    }

    /// Removes the outcomes of these keys: from now on their records decide. While a secret is
    /// rotated, instances name a key differently.
    pub async fn withdraw(&self, keys: &[KeyFingerprint]) {
        let names = keys.iter().map(|key| name(*key)).collect::<Vec<_>>();
        let redis = self.redis.clone();
        // If Redis is unavailable, the outcome expires.
        let _ = self
            .lifecycle
            .spawn(async move { redis.remove(&names).await })
            .await;
    }
}

impl Lease {
    /// Replaces the lease with the outcome for all instances, without waiting.
    pub fn share(self, stored: Stored, life: Duration) {
        let life = life.min(OUTCOME_LIFE);
        let until = self.store.clock.now() + life;
        let Some(sealed) = encryption::seal(&self.identity, stored, until) else {
            return;
        };
        let value = [&[OUTCOME], sealed.as_slice()].concat();
        // The request has its response by then: a separate span, so that the request's own ends
        // with it.
        let span = spans::child(&Span::current(), "share outcome");
        let lifecycle = self.store.lifecycle.clone();
        let _entered = span.enter();
        lifecycle.spawn(async move {
            let mut lease = self;
            let name = name(lease.identity.key);
            let shared = lease.store.redis.set(&name, &value, life).await;
            lease.is_held = shared.is_err();
            faults::point("SHARE");
        });
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.is_held || !self.store.redis.is_usable() {
            return;
        }
        let (redis, name) = (self.store.redis.clone(), name(self.identity.key));
        let value = std::mem::take(&mut self.value);
        // If Redis is unavailable, the lease expires.
        let release = async move { redis.remove_if(&name, &value).await };
        // As above: the request may have its response by then.
        let span = spans::child(&Span::current(), "give lease back");
        let _entered = span.enter();
        drop(self.store.lifecycle.spawn(release));
    }
}

fn name(key: KeyFingerprint) -> String {
    use std::fmt::Write;
    let mut name = String::from("signup:idempotency:");
    for byte in key.0 {
        let _ = write!(name, "{byte:02x}");
    }
    name
}
