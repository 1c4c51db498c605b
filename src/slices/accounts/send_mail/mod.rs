//! Sending mails: the queue is emptied in the background by every instance.
//!
//! It has no operation.

use std::time::Duration;

use crate::dependencies::Dependencies;
use crate::mail::{self, MailMetrics};
use crate::slice::{Job, Repeat, Slice};

/// The slice.
pub const SLICE: Slice = Slice {
    limits: mail::delivery::LIMITS,
    job: Some(Job {
        every: Duration::from_secs(1),
        bind: rounds,
    }),
    metrics: |metrics| MailMetrics::new(metrics).map(drop),
    ..Slice::new(Vec::new)
};

fn rounds(dependencies: &Dependencies) -> Repeat {
    let delivery = dependencies.delivery.clone();
    Box::new(move || {
        let delivery = delivery.clone();
        Box::pin(async move {
            if let Some(delivery) = delivery {
                delivery.round().await;
            }
        })
    })
}
