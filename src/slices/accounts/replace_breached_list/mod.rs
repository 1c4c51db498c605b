//! Replacing the list of breached passwords: every instance takes another file when it is there.
//!
//! It has no operation.

use std::time::Duration;

use crate::breached::{self, BreachedMetrics};
use crate::dependencies::Dependencies;
use crate::slice::{Job, Repeat, Slice};

/// The slice.
pub const SLICE: Slice = Slice {
    limits: breached::LIMITS,
    job: Some(Job {
        every: Duration::from_secs(5),
        bind: rounds,
    }),
    metrics: |metrics| BreachedMetrics::new(metrics).map(drop),
    ..Slice::new(Vec::new)
};

fn rounds(dependencies: &Dependencies) -> Repeat {
    let list = dependencies.breached.clone();
    Box::new(move || {
        let list = list.clone();
        Box::pin(async move {
            if let Some(list) = list {
                list.refresh().await;
            }
        })
    })
}
