//! Traces: which requests are traced, and how their spans leave by OTLP.
//!
//! Whether a request is traced is decided once, when it arrives ([`Sampling`]), so that the others
//! pay for no span. Spans wait for the collector in a bounded queue, which a thread of the SDK's
//! own empties. A collector that is dead or slow costs spans, which are counted, and nothing else.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName};
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
use crate::config::Traces as Settings;
use crate::platform::context::{self, RequestTrace};
use crate::platform::metrics::{Metrics, SpanDropped};

/// What is taken of a `tracestate`, in bytes: what W3C Trace Context (section 3.3.1.5) asks to carry at
/// least.
const MAX_HEADER: usize = 512;

/// How long the last spans may take to leave when the service ends.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Decides which requests are traced.
#[derive(Clone, Debug)]
pub struct Sampling {
    sampler: Sampler,
    propagator: Arc<TraceContextPropagator>,
}

impl Sampling {
    /// As the settings have it: nothing where no traces leave.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            sampler: sampler(settings),
            propagator: Arc::default(),
        }
    }

    /// The place of a request in a trace: that of the caller by its `traceparent`, or a new one.
    #[must_use]
    pub fn begin(&self, headers: &HeaderMap) -> RequestTrace {
        // Nearly no request has one, and looking is cheaper than reading.
        let parent = headers.contains_key("traceparent").then(|| {
            let headers = Headers(headers);
            self.propagator
                .extract_with_context(&Context::new(), &headers)
        });
        let parent = parent.filter(TraceContextExt::has_active_span);
        let trace_id = match &parent {
            Some(parent) => parent.span().span_context().trace_id(),
            None => RandomIdGenerator::default().new_trace_id(),
        };
        let verdict =
            self.sampler
                .should_sample(parent.as_ref(), trace_id, "", &SpanKind::Server, &[], &[]);
        RequestTrace::new(
            trace_id,
            RandomIdGenerator::default().new_span_id(),
            parent,
            verdict.decision == SamplingDecision::RecordAndSample,
        )
    }
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

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key)?.to_str().ok()?;
        // Each span keeps a copy.
        (value.len() <= MAX_HEADER).then_some(value)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// The way out. Dropped, it sends what waits, within a time limit.
pub struct Traces(SdkTracerProvider);

impl Drop for Traces {
    fn drop(&mut self) {
        // A collector that does not answer must not keep the process.
        let _ = self.0.shutdown_with_timeout(FLUSH_LIMIT);
    }
}

/// Opens the way to the collector, where there is one. It need not be there yet.
///
/// # Errors
/// When the settings can't be used; the text has no secret.
pub fn start(
    settings: &Settings,
    metrics: &Metrics,
) -> Result<Option<(Traces, SdkTracer)>, String> {
    let Some(endpoint) = &settings.endpoint else {
        return Ok(None);
    };
    let exporter = Exporter::new(settings, endpoint.expose_secret())
        .map_err(|reason| format!("traces cannot leave: {reason}"))?;
    let provider = SdkTracerProvider::builder()
        .with_span_processor(Counted::new(exporter, settings, metrics.clone()))
        // Decided already, see `Sampling`.
        .with_sampler(Sampler::AlwaysOn)
        .with_id_generator(RequestIds)
        .with_resource(resource())
        .build();
    let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
    Ok(Some((Traces(provider), tracer)))
}

/// What runs. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say more, or otherwise.
fn resource() -> Resource {
    let told = Resource::builder().build();
    let mut ours = Resource::builder();
    if told.get(&"service.version".into()).is_none() {
        ours = ours.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    }
    // The SDK's own name for what has none.
    let name = told.get(&"service.name".into());
    if name.is_none_or(|name| name.as_str().starts_with("unknown_service")) {
        ours = ours.with_service_name(env!("CARGO_PKG_NAME"));
    }
    ours.build()
}

/// Gives the span of a request the ids that its log lines have.
#[derive(Debug)]
struct RequestIds;

impl IdGenerator for RequestIds {
    fn new_trace_id(&self) -> TraceId {
        context::with_current(|context| context.map(|context| context.trace.trace_id))
            .unwrap_or_else(|| RandomIdGenerator::default().new_trace_id())
    }

    fn new_span_id(&self) -> SpanId {
        context::with_current(|context| context.and_then(|context| context.trace.take_span_id()))
            .unwrap_or_else(|| RandomIdGenerator::default().new_span_id())
    }
}

/// The SDK's queue and thread, with a bound of our own before it: the SDK does not tell how many
/// spans it drops.
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

/// What is logged of a failure.
fn reason(result: &OTelSdkResult) -> &str {
    match result {
        Ok(()) => "",
        Err(OTelSdkError::AlreadyShutdown) => "the exporter has ended",
        Err(OTelSdkError::Timeout(_)) => "no response in time",
        Err(OTelSdkError::InternalFailure(reason)) => reason,
    }
}

/// Counts what became of the spans.
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
                "the collector takes no spans: dropping them"
            ),
            (true, false) => tracing::info!("the collector takes spans again"),
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
