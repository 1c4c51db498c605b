//! Logs: one JSON object a line, or lines for people on a terminal.
//!
//! Lines are written by a thread of their own through a bounded channel. A sink that is full or
//! slow drops lines, never blocks a request.

use std::fmt;
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
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

/// Lines that may wait for the writer.
const WAITING_LINES: usize = 16_384;

/// Starts logging to standard output, for the whole process. Keep the guard: dropped, it writes
/// out what waits.
///
/// # Panics
/// When called twice.
#[must_use]
pub fn start(settings: &Log) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING_LINES)
        .finish(buffered_stdout());
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
                    .with_ansi(std::io::stdout().is_terminal())
                    .with_writer(writer),
            )
            .init(),
    }
    log_panics();
    guard
}

/// The server's own talk at `info` is for its developers, unless somebody asks for it.
fn filter(wanted: &str) -> String {
    if wanted.contains("actix_server") {
        wanted.to_owned()
    } else {
        format!("actix_server=warn,{wanted}")
    }
}

/// Standard output without the line buffering of [`std::io::stdout`]: the writer's thread flushes
/// when no line is waiting, so that a busy service pays one system call for many lines.
fn buffered_stdout() -> Box<dyn std::io::Write + Send> {
    match std::io::stdout().as_fd().try_clone_to_owned() {
        Ok(descriptor) => Box::new(std::io::BufWriter::new(File::from(descriptor))),
        Err(_) => Box::new(std::io::stdout()),
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

/// One JSON object a line.
struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
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
        let metadata = event.metadata();
        let timestamp = System.now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
        write!(
            writer,
            r#"{{"timestamp":"{timestamp}","level":"{}""#,
            metadata.level()
        )?;
        let mut fields = JsonFields {
            writer: writer.by_ref(),
            result: Ok(()),
        };
        event.record(&mut fields);
        fields.result?;
        write!(
            writer,
            r#","target":"{}","service":"{}","version":"{}""#,
            metadata.target(),
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION")
        )?;
        context::with_current(|context| match context {
            Some(context) => {
                writer.write_str(r#","request_id":"#)?;
                write_json(&mut writer, &context.request_id)?;
                writer.write_str(r#","correlation_id":"#)?;
                write_json(&mut writer, &context.correlation_id)
            }
            None => Ok(()),
        })?;
        writer.write_str("}\n")
    }
}

fn write_json(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        writer.write_char('"')?;
        writer.write_str(text)?;
        return writer.write_char('"');
    }
    let quoted = serde_json::to_string(text).map_err(|_| fmt::Error)?;
    writer.write_str(&quoted)
}

struct JsonFields<'writer> {
    writer: Writer<'writer>,
    result: fmt::Result,
}

impl JsonFields<'_> {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.result = self
            .result
            .and_then(|()| write!(self.writer, r#","{}":{value}"#, field.name()));
    }

    fn put_text(&mut self, field: &Field, value: &str) {
        self.result = self.result.and_then(|()| {
            write!(self.writer, r#","{}":"#, field.name())?;
            write_json(&mut self.writer, value)
        });
    }
}

impl Visit for JsonFields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.put(field, format_args!("{value}"));
        } else {
            self.put(field, format_args!("null"));
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, format_args!("{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put_text(field, &format!("{value:?}"));
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
