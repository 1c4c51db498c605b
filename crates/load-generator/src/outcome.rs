//! The outcome of a load.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

/// A response, and how long it took.
#[derive(Debug, Clone, Copy)]
pub struct TimedResponse {
    /// Its status.
    pub status: u16,
    /// From when the request was due to the end of the response.
    pub took: Duration,
}

/// The outcome of a load.
#[derive(Debug, Default, Clone)]
pub struct Outcome {
    /// The measured time.
    pub time: Duration,
    /// Every response in the measured time.
    pub responses: Vec<TimedResponse>,
    /// Requests without a response.
    pub errors: u64,
}

impl Outcome {
    pub(crate) fn new(time: Duration) -> Self {
        Self {
            time,
            ..Self::default()
        }
    }

    pub(crate) fn or_empty(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    pub(crate) fn add(&mut self, status: Option<u16>, took: Duration) {
        match status {
            Some(status) => self.responses.push(TimedResponse { status, took }),
            None => self.errors += 1,
        }
    }

    /// This outcome and another one that ran at the same time.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.responses.extend(other.responses);
        self.errors += other.errors;
        self
    }

    /// The number of responses with a status of 2xx.
    pub fn ok(&self) -> usize {
        let ok = |response: &&TimedResponse| (200..300).contains(&response.status);
        self.responses.iter().filter(ok).count()
    }

    /// The number of responses with a status of 2xx a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of requests are small")]
    pub fn rate(&self) -> f64 {
        self.ok() as f64 / self.time.as_secs_f64()
    }

    /// The time within which a share of the selected responses arrived: 0.99 for p99, 1 for the maximum. `None`
    /// without a response.
    #[must_use]
    pub fn percentile(&self, share: f64, of: impl Fn(u16) -> bool) -> Option<Duration> {
        let responses = self.responses.iter().filter(|response| of(response.status));
        let mut times: Vec<Duration> = responses.map(|response| response.took).collect();
        times.sort_unstable();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "it is an index into a list"
        )]
        let place = (share * times.len() as f64).ceil() as usize;
        times.get(place.max(1) - 1).copied()
    }

    /// The number of responses of each status.
    #[must_use]
    pub fn statuses(&self) -> BTreeMap<u16, u64> {
        let mut statuses = BTreeMap::new();
        for response in &self.responses {
            *statuses.entry(response.status).or_default() += 1;
        }
        statuses
    }

    /// The outcome as JSON, with the times of the responses with 2xx in milliseconds.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let ok = |status| (200..300).contains(&status);
        let millis = |share| {
            let time = self.percentile(share, ok)?;
            Some((time.as_secs_f64() * 1e6).round() / 1e3)
        };
        let statuses: serde_json::Map<String, Value> = self
            .statuses()
            .into_iter()
            .map(|(status, count)| (status.to_string(), count.into()))
            .collect();
        json!({
            "requests_per_second": (self.rate() * 100.0).round() / 100.0,
            "ok": self.ok(),
            "statuses": statuses,
            "errors": self.errors,
            "latency_ms": {
                "p50": millis(0.5), "p90": millis(0.9), "p99": millis(0.99), "max": millis(1.0),
            },
            "seconds": self.time.as_secs_f64(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_of_actual_responses() {
        let mut outcome = Outcome::new(Duration::from_secs(10));
        for millis in 1..=100 {
            outcome.add(Some(200), Duration::from_millis(millis));
        }
        outcome.add(Some(503), Duration::from_secs(9));
        outcome.add(None, Duration::ZERO);
        let ok = |status| status == 200;
        for (share, millis) in [(0.0, 1), (0.5, 50), (0.99, 99), (1.0, 100)] {
            assert_eq!(
                outcome.percentile(share, ok),
                Some(Duration::from_millis(millis))
            );
        }
        assert_eq!(outcome.percentile(0.5, |status| status == 404), None);
        assert_eq!((outcome.ok(), outcome.errors), (100, 1));
        assert!((outcome.rate() - 10.0).abs() < 1e-9);
        assert_eq!(outcome.statuses(), BTreeMap::from([(200, 100), (503, 1)]));
    }
}
