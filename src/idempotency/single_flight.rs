//! The keyed requests that are running in this process, so that others with the same key can wait.
//!
//! This saves work and decides nothing: a flight ends with its handler, even if its work goes on,
//! and another instance has its own flights. The record decides which request executes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::fingerprint::{Claim, KeyFingerprint};

/// The maximum number of tracked flights. Beyond it, requests run without waiting for each other.
pub(super) const MAX_FLIGHTS: usize = 10_000;

/// The keys that are running.
#[derive(Default)]
pub struct SingleFlight {
    running: Mutex<HashMap<KeyFingerprint, watch::Receiver<()>>>,
}

/// The state of a key.
pub enum Entered {
    /// Not running; others wait until the flight is dropped.
    First(Option<Flight>),
    /// Running; the channel closes when it ends.
    Running(watch::Receiver<()>),
}

/// A running request.
pub struct Flight {
    all: Arc<SingleFlight>,
    key: KeyFingerprint,
    _ends: watch::Sender<()>,
}

impl SingleFlight {
    /// Enters a claim's key, unless it is running.
    pub fn enter(self: &Arc<Self>, claim: &Claim) -> Entered {
        let Some(key) = claim.identities.first().map(|identity| identity.key) else {
            return Entered::First(None);
        };
        let mut running = self.lock();
        if let Some(ended) = running.get(&key) {
            return Entered::Running(ended.clone());
        }
        if running.len() >= MAX_FLIGHTS {
            return Entered::First(None);
        }
        let (ends, ended) = watch::channel(());
        running.insert(key, ended);
        Entered::First(Some(Flight {
            all: Arc::clone(self),
            key,
            _ends: ends,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<KeyFingerprint, watch::Receiver<()>>> {
        // Nothing that can panic runs under the lock.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        // Before the channel closes, so that waiting requests find the key free.
        self.all.lock().remove(&self.key);
    }
}
