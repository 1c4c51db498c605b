//! One JSON object a line.

use std::fmt;

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::platform::clock::{Clock, System};
use crate::platform::context;

/// Formats an event with its fields, what runs, and the ids and the client's network of the request.
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
        let metadata = event.metadata();
        let timestamp = System
            .now()
            .to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
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
                write_json(&mut writer, &context.correlation_id)?;
                if let Some(client) = context.client {
                    write!(writer, r#","client":"{}""#, client.in_log())?;
                }
                // That of the innermost span, where the request has spans.
                let span_id = Context::map_current(|current| {
                    let span = current.has_active_span().then(|| current.span());
                    span.map_or(context.trace.span_id, |span| span.span_context().span_id())
                });
                let trace_id = context.trace.trace_id;
                write!(writer, r#","trace_id":"{trace_id}","span_id":"{span_id}""#)
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
        self.put_text(field, &format!("{value:?}"));
    }
}
