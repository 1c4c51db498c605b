//! Logs and traces.
//!
//! Logs are JSON lines, or human-readable lines on a terminal, and are written by a separate
//! thread; see [`sink`]. Traces are [`spans`], exported by OTLP; see [`traces`].

mod json;
mod otlp;
mod sink;
pub mod spans;
mod traces;

pub use sink::LIMITS;

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{DefaultFields, FormatEvent, FormatFields, Writer};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use super::clock::{Clock, SystemClock};
use super::context;
use super::metrics::Metrics;
use crate::config::{LogFormat, LogSettings, TraceSettings};
use json::JsonLines;
use sink::Flush;
use traces::Traces;

pub use traces::{Headers, Sampling};

/// The logs and traces of the process. When dropped, it flushes them.
pub struct Telemetry {
    // In this order: the outcome of the last export is still logged.
    _traces: Option<Traces>,
    _logs: Flush,
}

/// Starts logging to standard output, and traces if enabled, for the whole process.
///
/// # Errors
/// When a thread cannot be started, or the settings of traces are invalid.
///
/// # Panics
/// When called twice.
pub fn start(
    log: &LogSettings,
    traces: &TraceSettings,
    metrics: &Metrics,
) -> Result<Telemetry, String> {
    let (writer, logs) = sink::start(unbuffered_stdout(), metrics.log_lines_dropped())
        .map_err(|error| error.to_string())?;
    let (traces, spans) = traces::start(traces, metrics)?.unzip();
    let spans = spans.map(|tracer| {
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_level(false)
            .with_filter(Targets::new().with_target(spans::TARGET, Level::INFO))
    });
    // Spans are not logged. (A check whether a line would be logged has no event yet.)
    let events = filter_fn(|metadata| !metadata.is_span());
    let filter = EnvFilter::new(filter(&log.filter)).and(events);
    let registry = tracing_subscriber::registry().with(spans);
    match log.format {
        LogFormat::Json => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .event_format(JsonLines)
                    .fmt_fields(NoSpanFields)
                    .with_writer(writer)
                    .with_filter(filter),
            )
            .init(),
        LogFormat::Pretty => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .event_format(Pretty)
                    .fmt_fields(NoSpanFields)
                    .with_ansi(io::stdout().is_terminal())
                    .with_writer(writer)
                    .with_filter(filter),
            )
            .init(),
    }
    log_panics();
    Ok(Telemetry {
        _traces: traces,
        _logs: logs,
    })
}

/// Silences the server's own crates unless the filter names them: one logs its threads, the other
/// logs an error when a client sends something other than HTTP.
fn filter(wanted: &str) -> String {
    let wanted = [("actix_server", "warn"), ("actix_http", "off")]
        .iter()
        .filter(|(target, _)| !wanted.contains(target))
        .fold(wanted.to_owned(), |filter, (target, level)| {
            format!("{target}={level},{filter}")
        });
    // Always: it logs the lines of a password file that it cannot parse.
    format!("{wanted},sqlx_postgres::options::pgpass=off")
}

/// Standard output without the line buffering of [`std::io::stdout`]: the sink writes batches of
/// lines.
fn unbuffered_stdout() -> Box<dyn Write + Send> {
    match io::stdout().as_fd().try_clone_to_owned() {
        Ok(descriptor) => Box::new(File::from(descriptor)),
        Err(_) => Box::new(io::stdout()),
    }
}

/// Logs a panic as one line, with its location; and with the request, on the threads that serve
/// requests.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(|place| format!("{}:{}", place.file(), place.line()))
            .unwrap_or_default();
        // Without the text of the panic: it can contain any data, even a password.
        tracing::error!(place, "panic");
    }));
}

/// Omits span fields from the log: the ids come from the request context, the rest from the event.
/// This saves formatting text that is never read.
struct NoSpanFields;

impl<'writer> FormatFields<'writer> for NoSpanFields {
    fn format_fields<R: RecordFields>(&self, _: Writer<'writer>, _: R) -> fmt::Result {
        Ok(())
    }
}

/// A human-readable line: time, level, message, the event's fields, and the request's ids and
/// client network.
struct Pretty;

impl<S, N> FormatEvent<S, N> for Pretty
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let time = SystemClock.now().format("%H:%M:%S%.3f");
        let level = event.metadata().level();
        write!(writer, "{time} {level:>5} ")?;
        DefaultFields::new().format_fields(writer.by_ref(), event)?;
        context::with_current(|context| match context {
            Some(context) => {
                write!(
                    writer,
                    " request_id={} correlation_id={} trace_id={}",
                    context.request_id, context.correlation_id, context.trace.trace_id
                )?;
                match context.client {
                    Some(client) => write!(writer, " client={}", client.in_log()),
                    None => Ok(()),
                }
            }
            None => Ok(()),
        })?;
        writer.write_char('\n')
    }
}
