//! Metrics of signups.

use prometheus::{IntCounter, Result};

use crate::platform::metrics::{ABANDONED, Metrics, status_text};

/// The statuses of responses to a signup.
const STATUSES: [u16; 11] = [201, 400, 408, 409, 413, 415, 422, 429, ABANDONED, 500, 503];

/// Counts signups by the status of the response; initialised at the start, as a rate needs a zero
/// to begin from.
///
/// # Errors
/// When the name is already registered.
pub fn requests(metrics: &Metrics) -> Result<impl Fn(u16) + Send + Sync + 'static> {
    let requests = metrics.registrar().counters(
        "signup_requests_total",
        "Signups, by the status of the response.",
        &["status"],
    )?;
    for status in STATUSES {
        requests.with_label_values(&[status_text(status)]);
    }
    Ok(move |status| requests.with_label_values(&[status_text(status)]).inc())
}

/// Counts signups for an address that already had an account.
///
/// # Errors
/// When the name is already registered.
pub fn duplicates(metrics: &Metrics) -> Result<IntCounter> {
    metrics.registrar().counter(
        "signup_duplicate_attempts_total",
        "Signups that were executed and found the address taken.",
    )
}

/// Registers all of these.
///
/// # Errors
/// When a name is already registered.
pub fn register(metrics: &Metrics) -> Result<()> {
    let _ = requests(metrics)?;
    duplicates(metrics).map(drop)
}
