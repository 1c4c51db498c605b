//! Log format: one JSON object per line.

use std::fmt::{self, Write as _};

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::platform::clock::{Clock, SystemClock, push_timestamp};
use crate::platform::context;

/// The initial capacity of a line, in bytes: enough for a line of a request.
const USUAL_LINE: usize = 640;

/// The fields that identify the service in each line, after the target.
const SERVICE: &str = concat!(
    r#"","service":""#,
    env!("CARGO_PKG_NAME"),
    r#"","version":""#,
    env!("CARGO_PKG_VERSION"),
    '"'
);

/// Formats an event with its fields, the service, and the request's ids and client network.
pub struct JsonLines;

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
        // The writer is slow for many small writes, so the line is built first.
        let mut line = String::with_capacity(USUAL_LINE);
        let metadata = event.metadata();
        let timestamp = SystemClock.now();
        line.push_str(r#"{"timestamp":""#);
        push_timestamp(&mut line, &timestamp);
        line.push_str(r#"","level":""#);
        line.push_str(metadata.level().as_str());
        line.push('"');
        let mut fields = JsonFields {
            line: &mut line,
            result: Ok(()),
        };
        event.record(&mut fields);
        fields.result?;
        line.push_str(r#","target":""#);
        line.push_str(metadata.target());
        line.push_str(SERVICE);
        context::with_current(|context| match context {
            Some(context) => {
                line.push_str(r#","request_id":"#);
                push_json(&mut line, &context.request_id)?;
                line.push_str(r#","correlation_id":"#);
                push_json(&mut line, &context.correlation_id)?;
                if let Some(client) = context.client {
                    write!(line, r#","client":"{}""#, client.in_log())?;
                }
                // The id of the innermost span, if the request has spans.
                let span_id = Context::map_current(|current| {
                    let span = current.has_active_span().then(|| current.span());
                    span.map_or(context.trace.span_id, |span| span.span_context().span_id())
                });
                line.push_str(r#","trace_id":""#);
                context::push_hex(&mut line, context.trace.trace_id.to_bytes());
                line.push_str(r#"","span_id":""#);
                context::push_hex(&mut line, span_id.to_bytes());
                line.push('"');
                Ok(())
            }
            None => Ok(()),
        })?;
        line.push_str("}\n");
        writer.write_str(&line)
    }
}

fn push_json(line: &mut String, text: &str) -> fmt::Result {
    if is_plain(text) {
        line.push('"');
        line.push_str(text);
        line.push('"');
        return Ok(());
    }
    let quoted = serde_json::to_string(text).map_err(|_| fmt::Error)?;
    line.push_str(&quoted);
    Ok(())
}

/// Whether JSON needs no escapes for this text.
fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    text.bytes().all(plain)
}

struct JsonFields<'line> {
    line: &'line mut String,
    result: fmt::Result,
}

impl JsonFields<'_> {
    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        self.result = self
            .result
            .and_then(|()| write!(self.line, r#","{}":{value}"#, field.name()));
    }

    fn put_text(&mut self, field: &Field, value: &str) {
        self.result = self.result.and_then(|()| {
            self.name(field);
            push_json(self.line, value)
        });
    }

    fn name(&mut self, field: &Field) {
        self.line.push_str(",\"");
        self.line.push_str(field.name());
        self.line.push_str("\":");
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
        self.name(field);
        self.line.push_str(itoa::Buffer::new().format(value));
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.put(field, format_args!("{value}"));
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.put(field, format_args!("{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, format_args!("{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Escaped while it is formatted, without a copy: nearly every message comes this way.
        self.name(field);
        self.line.push('"');
        let start = self.line.len();
        let written = write!(self.line, "{value:?}");
        self.result = self.result.and(written);
        if is_plain(&self.line[start..]) {
            self.line.push('"');
        } else {
            let text = self.line.split_off(start);
            self.line.pop();
            self.result = self.result.and_then(|()| push_json(self.line, &text));
        }
    }
}
