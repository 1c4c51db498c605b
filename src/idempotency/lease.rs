//! What instances share by Redis: which keys are running, and what they came to.
//!
//! A key has one value there. While the first request runs it is that request's lease, with a
//! token that only its owner knows; afterwards the outcome, for a minute: most retries come sooner,
//! and what could not be withdrawn is gone then. Whatever Redis says, the record decides who
//! executes; what it does not say costs a look-up or a hash.

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
const OUTCOME_LIFE: Duration = Duration::from_mins(1);

/// Between two looks at a key that is running: at first, and at most.
const POLL: Duration = Duration::from_millis(10);
const MAX_POLL: Duration = Duration::from_millis(160);

/// How far the clocks of two instances may be apart.
const MAX_SKEW: Duration = Duration::from_secs(5);

/// The first byte of a lease, and of an outcome. In a lease, its end in microseconds since 1970
/// follows, and a token.
const LEASE: u8 = b'L';
const OUTCOME: u8 = b'O';

/// What the instances share.
#[derive(Clone)]
pub struct LeaseStore {
    /// Where it is kept.
    pub redis: Redis,
    /// Runs questions on the runtime of the connections.
    pub lifecycle: Lifecycle,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes the tokens.
    pub randomness: Arc<dyn Randomness>,
    /// How long a request may run at most.
    pub request_timeout: Duration,
}

/// What Redis says of a key.
pub enum Seen {
    /// Nothing of use.
    Nothing,
    /// Nobody ran it; it is leased now.
    Free(Lease),
    /// Another instance runs it.
    Running,
    /// This request has an outcome.
    Stored(Stored),
}

/// Says that a key is running. It is given back when it is dropped.
pub struct Lease {
    store: LeaseStore,
    identity: Identity,
    value: Vec<u8>,
    is_held: bool,
}

impl LeaseStore {
    /// Asks for a claim's key, and leases it until the deadline if nobody has.
    pub async fn look(&self, claim: &Claim, deadline: Instant) -> Seen {
        let (store, identity) = (self.clone(), claim.current);
        let life = deadline.saturating_duration_since(clock::monotonic());
        let question = async move { store.lease(identity, life).await };
        // The lease comes to be within the task: given back even if nobody waits any more.
        let seen = self.lifecycle.spawn(question).await;
        seen.unwrap_or(Seen::Nothing)
    }

    /// Asks for a key that another instance runs, again and again until it is not, or until the end.
    pub async fn wait(&self, claim: &Claim, end: Instant, deadline: Instant) -> Seen {
        let mut pause = POLL;
        while clock::monotonic() + pause < end {
            tokio::time::sleep(pause).await;
            pause = MAX_POLL.min(pause * 2);
            let seen = self.look(claim, deadline).await;
            if !matches!(seen, Seen::Running) {
                return seen;
            }
        }
        Seen::Running
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
                // It may have been taken all the same, and would keep others waiting.
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

    /// Whether a lease can be one that a request holds: what is left in Redis for ever must not
    /// keep a key from being answered.
    fn is_alive(&self, lease: &[u8], now: DateTime<Utc>) -> bool {
        let longest = self.request_timeout + MAX_SKEW;
        lease
            .first_chunk()
            .and_then(|end| DateTime::from_timestamp_micros(i64::from_be_bytes(*end)))
            .is_some_and(|end| now - MAX_SKEW < end && end < now + longest)
    }

    /// Forgets the outcome of a claim's key: from now on its record is to be asked. While a secret
    /// is changed, instances name the key differently.
    pub async fn withdraw(&self, claim: &Claim) {
        let keys = claim.identities.iter().map(|identity| name(identity.key));
        let (redis, names) = (self.redis.clone(), keys.collect::<Vec<_>>());
        // If Redis does not hear it, the answer ends by itself.
        let _ = self
            .lifecycle
            .spawn(async move { redis.remove(&names).await })
            .await;
    }
}

impl Lease {
    /// Gives the outcome in place of the lease to all instances, without waiting for it.
    pub fn share(self, stored: Stored, life: Duration) {
        let life = life.min(OUTCOME_LIFE);
        let until = self.store.clock.now() + life;
        let Some(sealed) = encryption::seal(&self.identity, stored, until) else {
            return;
        };
        let value = [&[OUTCOME], sealed.as_slice()].concat();
        // The request has its answer meanwhile: a span of its own, so that its request's ends by then.
        let span = spans::child(&Span::current(), "share outcome");
        let lifecycle = self.store.lifecycle.clone();
        let _entered = span.enter();
        lifecycle.spawn(async move {
            let mut lease = self;
            let name = name(lease.identity.key);
            let told = lease.store.redis.set(&name, &value, life).await;
            lease.is_held = told.is_err();
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
        // If Redis does not hear it, the lease ends by itself.
        let give_back = async move { redis.remove_if(&name, &value).await };
        // As above: the request may have its answer by now.
        let span = spans::child(&Span::current(), "give lease back");
        let _entered = span.enter();
        drop(self.store.lifecycle.spawn(give_back));
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
