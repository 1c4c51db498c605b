//! Traces: sampling of requests, and export of their spans by OTLP.
//!
//! Whether a request is traced is decided once, when it arrives ([`Sampling`]), so that other
//! requests pay for no spans. Spans wait for export in a bounded queue, which a thread of the SDK
//! empties. A collector that is unavailable or slow costs spans, which are counted, and nothing
//! else.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanId, SpanKind, TraceContextExt, TraceId, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, IdGenerator, RandomIdGenerator, Sampler,
    SamplingDecision, SdkTracer, SdkTracerProvider, ShouldSample, Span, SpanData, SpanExporter,
    SpanProcessor,
};
use secrecy::ExposeSecret;

use super::otlp::Exporter;
use crate::config::TraceSettings as Settings;
use crate::platform::context::{self, RequestTrace};
use crate::platform::metrics::{Metrics, SpanDropped};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// The longest accepted `tracestate`, in bytes, and `traceparent` of a later version: the minimum
/// that W3C Trace Context (section 3.3.1.5) requires to propagate.
pub(super) const MAX_HEADER: usize = 512;

/// How long the export of the last spans may take when the service ends.
pub(super) const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Decides which requests are traced.
#[derive(Clone, Debug)]
pub struct Sampling {
    sampler: Sampler,
    propagator: Arc<TraceContextPropagator>,
}

impl Sampling {
    /// The configured sampling; nothing is sampled if no traces are exported.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            sampler: sampler(settings),
            propagator: Arc::default(),
        }
    }

    /// The position of a request in a trace: in the caller's, by its `traceparent`, or in a new
    /// one.
    ///
    /// Only a trusted caller (`is_trusted`) decides whether the request is traced. Otherwise it is
    /// sampled like a request without a caller: neither the flag nor a chosen trace id, which
    /// sampling by ratio depends on, makes or suppresses spans.
    #[must_use]
    pub fn begin(&self, headers: &impl Headers, is_trusted: bool) -> RequestTrace {
        let parent = self.parent(headers);
        let new_id = || RandomIdGenerator::default().new_trace_id();
        let trace_id = parent
            .as_ref()
            .map_or_else(new_id, |parent| parent.span().span_context().trace_id());
        let (asked, coin) = match &parent {
            Some(_) if !is_trusted => (None, new_id()),
            parent => (parent.as_ref(), trace_id),
        };
        let verdict = self
            .sampler
            .should_sample(asked, coin, "", &SpanKind::Server, &[], &[]);
        RequestTrace::new(
            trace_id,
            RandomIdGenerator::default().new_span_id(),
            parent,
            verdict.decision == SamplingDecision::RecordAndSample,
        )
    }

    /// The caller's span. If more than one is named, all are ignored (W3C Trace Context, section
    /// 3.2.2.5: an invalid `traceparent` begins a new trace).
    fn parent(&self, headers: &impl Headers) -> Option<Context> {
        let mut lines = headers.lines(TRACEPARENT);
        // Nearly no request has one, and this check is cheaper than parsing.
        let (Some(parent), None) = (lines.next(), lines.next()) else {
            return None;
        };
        let caller = Caller {
            parent: well_formed(short(parent)?)?,
            state: state(headers),
        };
        let parent = self
            .propagator
            .extract_with_context(&Context::new(), &caller);
        parent.has_active_span().then_some(parent)
    }
}

/// The headers of a request, of any transport.
pub trait Headers {
    /// The lines of a header.
    fn lines<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]>;
}

/// The part of a `traceparent` that is parsed, if it strictly has the specified form (W3C Trace
/// Context, section 3.2.2): the SDK also accepts shorter numbers, and numbers with a sign.
fn well_formed(parent: &str) -> Option<&str> {
    const LENGTHS: [usize; 4] = [2, 32, 16, 2];
    let (read, rest) = parent.split_at_checked(LENGTHS.iter().sum::<usize>() + 3)?;
    let mut parts = read.split('-');
    let fits = LENGTHS.iter().all(|length| {
        parts.next().is_some_and(|part| {
            let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            part.len() == *length && part.bytes().all(is_digit)
        })
    });
    // Additions of a later version follow another hyphen.
    let is_whole = rest.is_empty() || (rest.starts_with('-') && !read.starts_with("00-"));
    (fits && is_whole).then_some(read)
}

/// The text of a line, if it is not too long.
fn short(line: &[u8]) -> Option<&str> {
    let is_text = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
    let is_taken = line.len() <= MAX_HEADER && line.iter().all(is_text);
    is_taken.then(|| std::str::from_utf8(line).ok())?
}

/// The `tracestate` of a request, whose lines are one list (W3C Trace Context, section 3.3.1.1);
/// `None` if there is none, or it is not text or too long, as each span keeps a copy.
fn state(headers: &impl Headers) -> Option<String> {
    let mut state = String::new();
    for line in headers.lines(TRACESTATE) {
        let line = short(line)?;
        let comma = if state.is_empty() { "" } else { "," };
        if state.len() + comma.len() + line.len() > MAX_HEADER {
            return None;
        }
        state.push_str(comma);
        state.push_str(line);
    }
    (!state.is_empty()).then_some(state)
}

fn sampler(settings: &Settings) -> Sampler {
    if settings.endpoint.is_none() {
        return Sampler::AlwaysOff;
    }
    let root = Sampler::TraceIdRatioBased(settings.sampler.share);
    if settings.sampler.parent_based {
        Sampler::ParentBased(Box::new(root))
    } else {
        root
    }
}

/// The trace headers of a caller.
struct Caller<'a> {
    parent: &'a str,
    state: Option<String>,
}

impl Extractor for Caller<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => Some(self.parent),
            TRACESTATE => self.state.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

/// The export of spans. When dropped, it flushes them, within a time limit.
pub struct Traces(SdkTracerProvider);

impl Drop for Traces {
    fn drop(&mut self) {
        // A collector that does not respond must not block the end of the process.
        let _ = self.0.shutdown_with_timeout(FLUSH_LIMIT);
    }
}

/// Starts the export to the collector, if one is configured. The collector need not be available
/// yet.
///
/// # Errors
/// When the settings are invalid; the text has no secret.
pub fn start(
    settings: &Settings,
    metrics: &Metrics,
) -> Result<Option<(Traces, SdkTracer)>, String> {
    let Some(endpoint) = &settings.endpoint else {
        return Ok(None);
    };
    let exporter = Exporter::new(settings, endpoint.expose_secret())
        .map_err(|reason| format!("cannot export traces: {reason}"))?;
    let provider = SdkTracerProvider::builder()
        .with_span_processor(Counted::new(exporter, settings, metrics.clone()))
        // Decided earlier, see `Sampling`.
        .with_sampler(Sampler::AlwaysOn)
        .with_id_generator(SpanIds)
        .with_resource(resource())
        .build();
    let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
    Ok(Some((Traces(provider), tracer)))
}

/// The identity of the service. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` extend or
/// override it.
fn resource() -> Resource {
    let configured = Resource::builder().build();
    let mut ours = Resource::builder();
    if configured.get(&"service.version".into()).is_none() {
        ours = ours.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    }
    // The SDK's placeholder for a missing name.
    let name = configured.get(&"service.name".into());
    if name.is_none_or(|name| name.as_str().starts_with("unknown_service")) {
        ours = ours.with_service_name(env!("CARGO_PKG_NAME"));
    }
    ours.build()
}

/// Assigns the span of a request the ids that its log lines have.
#[derive(Debug)]
struct SpanIds;

impl IdGenerator for SpanIds {
    fn new_trace_id(&self) -> TraceId {
        context::with_current(|context| context.map(|context| context.trace.trace_id))
            .unwrap_or_else(|| RandomIdGenerator::default().new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        context::with_current(|context| context.and_then(|context| context.trace.take_span_id()))
            .unwrap_or_else(|| RandomIdGenerator::default().new_span_id())
    }
}

/// The SDK's queue and thread, behind a bound of our own: the SDK does not report how many spans it
/// drops.
struct Counted {
    inner: BatchSpanProcessor,
    waiting: Arc<AtomicUsize>,
    most: usize,
    metrics: Metrics,
}

impl Counted {
    fn new(exporter: Exporter, settings: &Settings, metrics: Metrics) -> Self {
        let most = settings.queue;
        let waiting = Arc::new(AtomicUsize::new(0));
        let exporter = CountedExporter {
            inner: exporter,
            waiting: Arc::clone(&waiting),
            failing: AtomicBool::new(false),
            metrics: metrics.clone(),
        };
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(most)
            .with_max_export_batch_size(settings.batch)
            .with_scheduled_delay(settings.delay);
        Self {
            inner: BatchSpanProcessor::new(exporter, config.build()),
            waiting,
            most,
            metrics,
        }
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counted").finish_non_exhaustive()
    }
}

impl SpanProcessor for Counted {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        let room = |waiting| (waiting < self.most).then_some(waiting + 1);
        let taken = self
            .waiting
            .try_update(Ordering::Relaxed, Ordering::Relaxed, room);
        if taken.is_ok() {
            self.inner.on_end(span);
        } else {
            self.metrics.spans_dropped(SpanDropped::QueueFull, 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// The reason of a failure, for the log.
fn reason(result: &OTelSdkResult) -> &str {
    match result {
        Ok(()) => "",
        Err(OTelSdkError::AlreadyShutdown) => "the exporter has ended",
        Err(OTelSdkError::Timeout(_)) => "no response in time",
        Err(OTelSdkError::InternalFailure(reason)) => reason,
    }
}

/// Counts exported and dropped spans.
struct CountedExporter {
    inner: Exporter,
    waiting: Arc<AtomicUsize>,
    failing: AtomicBool,
    metrics: Metrics,
}

impl fmt::Debug for CountedExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountedExporter").finish_non_exhaustive()
    }
}

impl SpanExporter for CountedExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let result = self.inner.export(batch).await;
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        let failed = result.is_err();
        if failed {
            self.metrics.spans_dropped(SpanDropped::ExportFailed, count);
        } else {
            self.metrics.spans_exported(count);
        }
        match (self.failing.swap(failed, Ordering::Relaxed), failed) {
            (false, true) => tracing::warn!(
                reason = reason(&result),
                "OTLP export failing, dropping spans"
            ),
            (true, false) => tracing::info!("OTLP export working again"),
            _ => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn begin(sampler: Sampler, is_trusted: bool, lines: &[(&str, &str)]) -> RequestTrace {
        let sampling = Sampling {
            sampler,
            propagator: Arc::default(),
        };
        sampling.begin(&Lines(lines), is_trusted)
    }

    struct Lines<'l>(&'l [(&'l str, &'l str)]);

    impl Headers for Lines<'_> {
        fn lines<'a>(&'a self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
            let lines = self.0.iter();
            lines
                .filter(move |(line, _)| line.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.as_bytes())
        }
    }

    fn joins(lines: &[(&str, &str)]) -> bool {
        let trace = begin(Sampler::AlwaysOff, true, lines);
        assert_eq!(trace.parent.is_some(), trace.trace_id.to_string() == TRACE);
        trace.parent.is_some()
    }

    fn parent(flags: &str) -> String {
        format!("00-{TRACE}-{SPAN}-{flags}")
    }

    #[rstest]
    #[case::sampled(format!("00-{TRACE}-{SPAN}-01"), true)]
    #[case::not_sampled(format!("00-{TRACE}-{SPAN}-00"), true)]
    #[case::flags_of_another_level(format!("00-{TRACE}-{SPAN}-ff"), true)]
    #[case::later_version(format!("cc-{TRACE}-{SPAN}-01"), true)]
    #[case::later_version_with_more(format!("cc-{TRACE}-{SPAN}-01-what-it-adds"), true)]
    #[case::later_version_run_on(format!("cc-{TRACE}-{SPAN}-01.what"), false)]
    #[case::more_than_the_version_has(format!("00-{TRACE}-{SPAN}-01-what"), false)]
    #[case::hyphen_behind(format!("00-{TRACE}-{SPAN}-01-"), false)]
    #[case::no_version(format!("ff-{TRACE}-{SPAN}-01"), false)]
    #[case::short_version(format!("0-{TRACE}-{SPAN}-01"), false)]
    #[case::upper_case(format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), false)]
    #[case::short_trace(format!("00-{}-{SPAN}-01", &TRACE[1..]), false)]
    #[case::short_span(format!("00-{TRACE}-{}-01", &SPAN[1..]), false)]
    #[case::sign(format!("00-+{}-{SPAN}-01", &TRACE[1..]), false)]
    #[case::no_trace(format!("00-{}-{SPAN}-01", "0".repeat(32)), false)]
    #[case::no_span(format!("00-{TRACE}-{}-01", "0".repeat(16)), false)]
    #[case::no_flags(format!("00-{TRACE}-{SPAN}"), false)]
    #[case::short_flags(format!("00-{TRACE}-{SPAN}-1"), false)]
    #[case::two_in_a_line(format!("00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01"), false)]
    #[case::tiny("0-1-1-1".to_owned(), false)]
    #[case::empty(String::new(), false)]
    fn a_traceparent_is_parsed_strictly(#[case] line: String, #[case] is_one: bool) {
        assert_eq!(joins(&[(TRACEPARENT, &line)]), is_one, "{line}");
    }

    #[test]
    fn two_traceparents_are_ignored() {
        let (one, other) = (parent("01"), parent("00"));
        assert!(joins(&[(TRACEPARENT, &one)]));
        assert!(!joins(&[(TRACEPARENT, &one), (TRACEPARENT, &other)]));
        assert!(!joins(&[(TRACEPARENT, &one), (TRACEPARENT, &one)]));
        assert!(!joins(&[(TRACEPARENT, "nonsense"), (TRACEPARENT, &one)]));
    }

    #[rstest]
    #[case::one(&["a=1"], "a=1")]
    #[case::lines_are_one_list(&["a=1,b=2", "c=3"], "a=1,b=2,c=3")]
    #[case::no_list(&["nonsense"], "")]
    fn the_state_of_the_caller_is_kept(#[case] lines: &[&str], #[case] kept: &str) {
        let one = parent("01");
        let mut all = vec![(TRACEPARENT, &*one)];
        all.extend(lines.iter().map(|line| (TRACESTATE, *line)));
        let trace = begin(Sampler::AlwaysOff, true, &all);
        let parent = trace.parent.expect("a caller");
        assert_eq!(parent.span().span_context().trace_state().header(), kept);
    }

    #[test]
    fn the_state_of_the_caller_is_bounded_over_all_lines() {
        let one = parent("01");
        for (length, is_kept) in [(256, true), (257, false)] {
            let first = format!("a={}", "1".repeat(253));
            let second = format!("b={}", "2".repeat(length - 2));
            let lines = [
                (TRACEPARENT, &*one),
                (TRACESTATE, &first),
                (TRACESTATE, &second),
            ];
            let trace = begin(Sampler::AlwaysOff, true, &lines);
            let parent = trace.parent.expect("a caller");
            let state = parent.span().span_context().trace_state().header();
            assert_eq!(!state.is_empty(), is_kept, "{length}");
        }
    }

    #[test]
    fn only_a_trusted_caller_decides_what_is_traced() {
        let by_parent = |root: Sampler| Sampler::ParentBased(Box::new(root));
        for (flags, sampled) in [("01", true), ("00", false)] {
            let line = parent(flags);
            let lines = [(TRACEPARENT, &*line)];
            for root in [Sampler::AlwaysOn, Sampler::AlwaysOff] {
                let of_root = matches!(root, Sampler::AlwaysOn);
                let trusted = begin(by_parent(root.clone()), true, &lines);
                assert_eq!(trusted.is_sampled, sampled);
                let untrusted = begin(by_parent(root), false, &lines);
                assert_eq!(untrusted.is_sampled, of_root);
                assert_eq!(untrusted.trace_id.to_string(), TRACE, "it is joined");
                assert!(untrusted.parent.is_some());
            }
        }
    }

    /// Sampling depends on the trace id, which an untrusted caller can choose.
    #[test]
    fn a_chosen_trace_id_does_not_force_sampling() {
        let line = format!("00-{:032x}-{SPAN}-01", 1);
        let lines = [(TRACEPARENT, &*line)];
        let share = || Sampler::TraceIdRatioBased(1e-9);
        assert!(begin(share(), true, &lines).is_sampled);
        for sampler in [share(), Sampler::ParentBased(Box::new(share()))] {
            assert!(!begin(sampler, false, &lines).is_sampled);
        }
    }
}
