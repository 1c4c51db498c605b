//! The figures of logs and traces themselves.

use prometheus::{IntCounter, IntCounterVec, Result};

use super::Metrics;
use super::registrar::Registrar;

pub(super) struct Telemetry {
    lines_dropped: IntCounter,
    spans_exported: IntCounter,
    spans_dropped: IntCounterVec,
}

/// Why a span did not get to the collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanDropped {
    /// Too many waited.
    QueueFull,
    /// The collector did not take it.
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
                "Log lines that were dropped because they were not taken fast enough.",
            )?,
            spans_exported: registrar.counter(
                "trace_spans_exported_total",
                "Spans that the collector took.",
            )?,
            spans_dropped: registrar.counters(
                "trace_spans_dropped_total",
                "Spans that did not get to the collector.",
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
    /// Where dropped log lines are counted.
    #[must_use]
    pub fn log_lines_dropped(&self) -> IntCounter {
        self.0.telemetry.lines_dropped.clone()
    }

    /// Counts spans that the collector took.
    pub fn spans_exported(&self, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.0.telemetry.spans_exported.inc_by(count);
    }

    /// Counts spans that did not get there.
    pub fn spans_dropped(&self, reason: SpanDropped, count: usize) {
        let dropped = &self.0.telemetry.spans_dropped;
        dropped
            .with_label_values(&[reason.label()])
            .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }
}
