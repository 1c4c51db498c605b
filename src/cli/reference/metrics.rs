//! `docs/reference/metrics.md`: every metric.

use super::row;
use crate::idempotency::KeyMetrics;
use crate::platform::metrics::Metrics;
use crate::slices;

/// The page of all metrics.
///
/// # Errors
/// When two metrics have one name.
pub fn page() -> prometheus::Result<String> {
    let metrics = Metrics::new()?;
    // Those of layers above, which own them.
    KeyMetrics::new(&metrics)?;
    for slice in slices::all() {
        (slice.metrics)(&metrics)?;
    }

    let mut page = String::from(
        "# Metrics\n\
         \n\
         `GET /metrics` has them in the text format of Prometheus. No label holds an address, a name, a key or a \
         path: a route is the pattern that matched, such as `/users/{id}`, or `unmatched`.\n\
         \n\
         A label whose values are known has a series for each of them from the start, at 0, so that the first \
         event is a change. The exceptions are the `status` of `http_request_duration_seconds` and the checks of \
         `/ready`, which begin with their first. Metrics named `process_*` exist on Linux only. \
         [monitor.md](../how-to/monitor.md) says how to use them.\n\
         \n\
         | metric | type | labels | meaning |\n\
         |---|---|---|---|\n",
    );
    let mut described = metrics.described();
    described.sort_by(|one, other| one.name.cmp(&other.name));
    for metric in described {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        page += &row(&[
            &format!("`{}`", metric.name),
            metric.kind,
            &labels.join(", "),
            &metric.help,
        ]);
    }
    Ok(page)
}
