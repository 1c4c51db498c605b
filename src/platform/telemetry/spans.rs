//! Spans of traced requests.
//!
//! A request that is not traced creates no spans: its current span is disabled, and so are all
//! spans within it. To add a span, wrap the work in [`within`], or a statement in [`statement`].

use std::fmt;
use std::future::Future;

use tracing::field::Empty;
use tracing::instrument::Instrument;
use tracing::{Span, info_span};

/// The target that selects spans for the tracing layer. Log lines have other targets.
pub const TARGET: &str = "trace";

/// A database, as the semantic conventions of OpenTelemetry name it (`db.system.name`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// `postgresql`.
    Postgres,
    /// `sqlite`.
    Sqlite,
    /// `redis`.
    Redis,
}

impl System {
    const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgresql",
            Self::Sqlite => "sqlite",
            Self::Redis => "redis",
        }
    }
}

/// The kind of an error, for its span. It contains no values.
pub trait Kind {
    /// A word of a bounded set.
    fn kind(&self) -> String;
}

/// A child span; disabled if the parent is. Dropping the last handle ends it.
#[must_use]
pub fn child(parent: &Span, name: &'static str) -> Span {
    if parent.is_disabled() {
        return Span::none();
    }
    info_span!(
        target: TARGET, parent: parent, "span",
        otel.name = name, otel.status_code = Empty, error.type = Empty
    )
}

/// Runs work within a new span.
pub async fn within<F: Future>(name: &'static str, work: F) -> F::Output {
    work.instrument(child(&Span::current(), name)).await
}

/// Runs work within a new span, which records whether it failed.
///
/// # Errors
/// Those of the work.
pub async fn within_fallibly<T, E: Kind>(
    name: &'static str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let span = child(&Span::current(), name);
    let result = work.instrument(span.clone()).await;
    record(&span, &result);
    result
}

/// Runs a statement on a database. The span has the operation and its target, if that has a single
/// name; but no values.
///
/// # Errors
/// Those of the work.
pub async fn statement<T, E: Kind>(
    system: System,
    operation: &'static str,
    collection: &'static str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let parent = Span::current();
    if parent.is_disabled() {
        return work.await;
    }
    let span = info_span!(
        target: TARGET, parent: parent, "statement",
        otel.name = format!("{operation} {collection}").trim_end(),
        otel.kind = "client", otel.status_code = Empty, error.type = Empty,
        db.system.name = system.name(), db.operation.name = operation,
        db.collection.name = (!collection.is_empty()).then_some(collection)
    );
    let result = work.instrument(span.clone()).await;
    record(&span, &result);
    result
}

/// Marks a span as failed.
pub fn fail(span: &Span, kind: impl fmt::Display) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", tracing::field::display(kind));
}

fn record<T, E: Kind>(span: &Span, result: &Result<T, E>) {
    if let Err(error) = result
        && !span.is_disabled()
    {
        fail(span, error.kind());
    }
}
