//! Housekeeping: removes rows of sessions, revocations, the log and the throttle once they are old.
//!
//! It has no operation. A round removes small batches until nothing old is left, so that no command
//! waits for long.

mod store;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::dependencies::Dependencies;
use crate::platform::clock::Clock;
use crate::platform::database::Database;
use crate::platform::errors::error_chain;
use crate::slice::{Job, Repeat, Slice};

/// The interval between two rounds.
const EVERY: Duration = Duration::from_mins(10);

/// Rows removed per transaction.
const BATCH: u32 = 500;

/// The slice.
pub const SLICE: Slice = Slice {
    limits: store::LIMITS,
    job: Some(Job {
        every: EVERY,
        bind: rounds,
    }),
    ..Slice::new(Vec::new)
};

fn rounds(dependencies: &Dependencies) -> Repeat {
    let database = dependencies.database.clone();
    let clock = Arc::clone(&dependencies.clock);
    Box::new(move || Box::pin(round(database.clone(), Arc::clone(&clock))))
}

async fn round(database: Database, clock: Arc<dyn Clock>) {
    for old in &store::OLD {
        remove_all(&database, old, clock.now()).await;
    }
}

async fn remove_all(database: &Database, old: &'static store::Old, now: DateTime<Utc>) {
    loop {
        match old.remove(database, now, BATCH).await {
            Ok(removed) if removed < BATCH as usize => return,
            Ok(_) => {}
            Err(error) => {
                let (rows, reason) = (old.what, error_chain(&error));
                tracing::warn!(rows, reason, "old rows not removed");
                return;
            }
        }
    }
}
