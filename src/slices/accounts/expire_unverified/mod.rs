//! Removing accounts whose address was not verified in time, so that an address is not kept by a person
//! who has no access to its mailbox.
//!
//! It has no operation. A round removes small batches until none is left, so that no command waits for
//! long.

mod store;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use crate::access::feed::{Feed, Revocation};
use crate::dependencies::Dependencies;
use crate::domain::StoreError;
use crate::platform::clock::{Clock, Randomness};
use crate::platform::database::Database;
use crate::platform::errors::error_chain;
use crate::slice::{Job, Repeat, Slice};
use store::Expiry;

/// The interval between two rounds.
const EVERY: Duration = Duration::from_mins(10);

/// Users removed per transaction: the rows that refer to each have to be found, and SQLite has one writer.
const PER_TRANSACTION: usize = 10;

/// The slice.
pub const SLICE: Slice = Slice {
    job: Some(Job {
        every: EVERY,
        bind: rounds,
    }),
    ..Slice::new(Vec::new)
};

/// The dependencies of a round.
struct State {
    database: Database,
    feed: Arc<Feed>,
    clock: Arc<dyn Clock>,
    randomness: Arc<dyn Randomness>,
    ttl: TimeDelta,
}

fn rounds(dependencies: &Dependencies) -> Repeat {
    let auth = &dependencies.settings.auth;
    let state = auth.requires_verification.then(|| {
        Arc::new(State {
            database: dependencies.database.clone(),
            feed: Arc::clone(&dependencies.feed),
            clock: Arc::clone(&dependencies.clock),
            randomness: Arc::clone(&dependencies.randomness),
            ttl: TimeDelta::from_std(auth.unverified_ttl).unwrap_or(TimeDelta::MAX),
        })
    });
    Box::new(move || {
        let state = state.clone();
        Box::pin(async move {
            if let Some(state) = state {
                round(&state).await;
            }
        })
    })
}

async fn round(state: &State) {
    match remove_all(state).await {
        Ok(0) => {}
        Ok(users) => tracing::info!(users, "users removed that were not verified in time"),
        Err(error) => {
            let reason = error_chain(&error);
            tracing::warn!(reason, "users that were not verified in time not removed");
        }
    }
}

/// Removes all that are due. Returns how many there were.
async fn remove_all(state: &State) -> Result<usize, StoreError> {
    let mut all = 0;
    loop {
        let now = state.clock.now();
        let users = store::due(&state.database, now - state.ttl).await?;
        let before = all;
        for users in users.chunks(PER_TRANSACTION) {
            let expiry = Expiry {
                users: users.to_vec(),
                at: now,
                randomness: Arc::clone(&state.randomness),
            };
            let removed = state.database.write(expiry).await?;
            all += removed.len();
            for user in removed {
                state.feed.add(Revocation::Erased(user));
            }
        }
        // None is due, or other instances have removed them.
        if all == before {
            return Ok(all);
        }
    }
}
