//! Logs: one JSON object a line, or lines for people on a terminal.
//!
//! Lines are written by a thread of their own; see [`sink`].

mod json;
mod sink;

use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{DefaultFields, FormatEvent, FormatFields, Writer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use super::clock::{Clock, System};
use super::context;
use crate::config::{Log, LogFormat};
use json::JsonLines;

pub use sink::Flush;

/// Starts logging to standard output, for the whole process. Keep the guard: dropped, it writes
/// out what waits.
///
/// # Errors
/// When the system gives no thread.
///
/// # Panics
/// When called twice.
pub fn start(settings: &Log) -> io::Result<Flush> {
    let (writer, flush) = sink::start(unbuffered_stdout())?;
    let filter = EnvFilter::new(filter(&settings.filter));
    let registry = tracing_subscriber::registry().with(filter);
    match settings.format {
        LogFormat::Json => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .event_format(JsonLines)
                    .fmt_fields(NoSpanFields)
                    .with_writer(writer),
            )
            .init(),
        LogFormat::Pretty => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .event_format(Pretty)
                    .fmt_fields(NoSpanFields)
                    .with_ansi(io::stdout().is_terminal())
                    .with_writer(writer),
            )
            .init(),
    }
    log_panics();
    Ok(flush)
}

/// What the server's own crates say is for their developers, unless somebody asks for it: the
/// one announces its threads, the other calls it an error when a client sends no HTTP.
fn filter(wanted: &str) -> String {
    [("actix_server", "warn"), ("actix_http", "off")]
        .iter()
        .filter(|(target, _)| !wanted.contains(target))
        .fold(wanted.to_owned(), |filter, (target, level)| {
            format!("{target}={level},{filter}")
        })
}

/// Standard output without the line buffering of [`std::io::stdout`]: the sink writes whole
/// batches of lines.
fn unbuffered_stdout() -> Box<dyn Write + Send> {
    match io::stdout().as_fd().try_clone_to_owned() {
        Ok(descriptor) => Box::new(File::from(descriptor)),
        Err(_) => Box::new(io::stdout()),
    }
}

/// A panic is one line of the log, with the request it belongs to.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(|place| format!("{}:{}", place.file(), place.line()))
            .unwrap_or_default();
        // Not the panic's text: it can have anything in it, a password as well.
        tracing::error!(place, "panic");
    }));
}

/// Span fields are not logged: the ids come from the request context, everything else is the
/// event's own. This spares each request the text that nobody reads.
struct NoSpanFields;

impl<'writer> FormatFields<'writer> for NoSpanFields {
    fn format_fields<R: RecordFields>(&self, _: Writer<'writer>, _: R) -> fmt::Result {
        Ok(())
    }
}

/// A line for people: time, level, message, the event's fields, the ids of the request.
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
        let time = System.now().format("%H:%M:%S%.3f");
        let level = event.metadata().level();
        write!(writer, "{time} {level:>5} ")?;
        DefaultFields::new().format_fields(writer.by_ref(), event)?;
        context::with_current(|context| match context {
            Some(context) => write!(
                writer,
                " request_id={} correlation_id={}",
                context.request_id, context.correlation_id
            ),
            None => Ok(()),
        })?;
        writer.write_char('\n')
    }
}
