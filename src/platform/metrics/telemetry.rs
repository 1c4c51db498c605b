//! Metrics of logs and traces.

use prometheus::{IntCounter, IntCounterVec, Result};

use super::Metrics;
use super::registrar::Registrar;

pub(super) struct Telemetry {
    lines_dropped: IntCounter,
    spans_exported: IntCounter,
    spans_dropped: IntCounterVec,
}

/// Why a span did not reach the collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanDropped {
    /// The queue was full.
    QueueFull,
    /// The collector did not accept it.
    ExportFailed,
}

impl SpanDropped {
    const fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::ExportFailed => "export_failed",
        }
    }
}

impl Telemetry {
    pub(super) fn new(registrar: &Registrar<'_>) -> Result<Self> {
        Ok(Self {
            lines_dropped: registrar.counter(
                "log_lines_dropped_total",
                "Log lines dropped because the output was too slow.",
            )?,
            spans_exported: registrar.counter(
                "trace_spans_exported_total",
                "Spans accepted by the collector, which may still have refused some of them.",
            )?,
            spans_dropped: registrar.counters(
                "trace_spans_dropped_total",
                "Spans lost: queue_full, export_failed.",
                &["reason"],
            )?,
        })
    }

    pub(super) fn begin(&self) {
        for reason in [SpanDropped::QueueFull, SpanDropped::ExportFailed] {
            self.spans_dropped.with_label_values(&[reason.label()]);
        }
    }
}

impl Metrics {
    /// The counter of dropped log lines.
    #[must_use]
    pub fn log_lines_dropped(&self) -> IntCounter {
        self.0.telemetry.lines_dropped.clone()
    }

    /// Counts spans that the collector accepted.
    pub fn spans_exported(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.0.telemetry.spans_exported.inc_by(count);
    }

    /// Counts spans that did not reach the collector.
    pub fn spans_dropped(&self, reason: SpanDropped, count: usize) {
        let dropped = &self.0.telemetry.spans_dropped;
        dropped
            .with_label_values(&[reason.label()])
            .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }
}
