//! Metrics of the HTTP server.

use std::time::Duration;

use prometheus::{HistogramVec, IntCounterVec, IntGauge, Result};

use super::registrar::Registrar;
use super::{InFlight, Metrics};

/// The status recorded for a request whose connection broke before the response, as in nginx.
pub const ABANDONED: u16 = 499;

pub(super) struct Http {
    duration: HistogramVec,
    in_flight: IntGauge,
    connections: IntGauge,
    unreadable: IntCounterVec,
    cut: IntCounterVec,
}

/// Why the service closed a connection before its regular end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionCut {
    /// New connections were waiting, and its network had the most; or it was a new one of such a
    /// network.
    Crowded,
    /// All connections together held too much memory, and it was the slowest.
    Memory,
    /// It read no byte of a response for a while.
    Stalled,
}

impl ConnectionCut {
    const ALL: [Self; 3] = [Self::Crowded, Self::Memory, Self::Stalled];

    const fn label(self) -> &'static str {
        match self {
            Self::Crowded => "crowded",
            Self::Memory => "memory",
            Self::Stalled => "stalled",
        }
    }
}

impl Http {
    pub(super) fn new(registrar: &Registrar<'_>) -> Result<Self> {
        Ok(Self {
            duration: registrar.histograms(
                "http_request_duration_seconds",
                "Time from the head of a request to its response.",
                &["method", "route", "status"],
            )?,
            in_flight: registrar.gauge(
                "http_requests_in_flight",
                "Requests without a response yet.",
            )?,
            connections: registrar.gauge("active_connections", "Open client connections.")?,
            unreadable: registrar.counters(
                "http_unreadable_requests_total",
                "Responses to input that is not readable HTTP; not counted as requests elsewhere.",
                &["status"],
            )?,
            cut: registrar.counters(
                "http_connections_cut_total",
                "Connections closed by the service: crowded (of the network with most of them, or a new one of it), memory (the slowest, when all together held too much), stalled (took no byte of a response).",
                &["reason"],
            )?,
        })
    }
}

impl Http {
    pub(super) fn begin(&self) {
        for reason in ConnectionCut::ALL {
            self.cut.with_label_values(&[reason.label()]);
        }
    }
}

impl Metrics {
    /// Counts a connection that was closed in favour of others.
    pub fn connection_cut(&self, reason: ConnectionCut) {
        self.0.http.cut.with_label_values(&[reason.label()]).inc();
    }

    /// Counts a request as in flight until the guard is dropped.
    #[must_use]
    pub fn request_begins(&self) -> InFlight {
        InFlight::new(&self.0.http.in_flight)
    }

    /// Counts a finished request. `route` is the pattern that matched, never the path.
    pub fn request_ended(&self, method: &str, route: &str, status: u16, took: Duration) {
        let method = known_method(method).unwrap_or("other");
        self.0
            .http
            .duration
            .with_label_values(&[method, route, status_text(status)])
            .observe(took.as_secs_f64());
    }

    /// Counts a connection as open until the guard is dropped.
    #[must_use]
    pub fn connection_begins(&self) -> InFlight {
        InFlight::new(&self.0.http.connections)
    }

    /// Counts a response to an unreadable request.
    pub fn unreadable_request(&self, status: u16) {
        let status = status_text(status);
        self.0.http.unreadable.with_label_values(&[status]).inc();
    }
}

/// Returns a method if it is one of those with their own label: methods are free text in HTTP, and
/// labels and span names must be bounded.
#[must_use]
pub fn known_method(method: &str) -> Option<&'static str> {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| *known == method)
}

/// The statuses from 100 to 599 as text.
static STATUS_TEXTS: [[u8; 3]; 500] = {
    let mut texts = [[b'0'; 3]; 500];
    let mut place = 0;
    while place < texts.len() {
        let status = place + 100;
        let digits = [status / 100, status / 10 % 10, status % 10];
        let mut digit = 0;
        while digit < digits.len() {
            texts[place][digit] = b"0123456789"[digits[digit]];
            digit += 1;
        }
        place += 1;
    }
    texts
};

/// A status as text, without an allocation.
#[must_use]
pub fn status_text(status: u16) -> &'static str {
    let place = usize::from(status).checked_sub(100);
    place
        .and_then(|place| STATUS_TEXTS.get(place))
        .and_then(|text| std::str::from_utf8(text).ok())
        .unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_its_digits() {
        for (status, text) in [(100, "100"), (201, "201"), (499, "499"), (599, "599")] {
            assert_eq!(status_text(status), text);
        }
        assert_eq!(status_text(0), "other");
        assert_eq!(status_text(600), "other");
    }
}
