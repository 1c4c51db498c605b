//! Metrics: the registry that `/metrics` prints, and what can be counted.
//!
//! Names and units are those that Prometheus' guide asks for; every label has a bounded set of
//! values. Those of a slice stand in the slice, and register by [`Metrics::make`]; to add one here: a
//! field where it belongs, its line in `new` there, and a method that counts. docs/observability.md lists them all.

mod dependencies;
mod hashing;
mod http;
mod registrar;
mod telemetry;

use std::sync::Arc;

use prometheus::{Encoder, Gauge, IntGauge, Opts, Registry, TextEncoder};

pub use registrar::Registrar;

pub use dependencies::{DatabasePool, PoolSize, Retry};
pub use hashing::HashRefused;
pub use http::{ABANDONED, ConnectionCut, known_method, status_text};
pub use telemetry::SpanDropped;

/// The metrics of one service. A copy counts for the same.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

struct Families {
    registry: Registry,
    http: http::Http,
    hashing: hashing::Hashing,
    dependencies: dependencies::Dependencies,
    telemetry: telemetry::Telemetry,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When a name stands twice.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let registrar = Registrar(&registry);
        let build_info = Gauge::with_opts(
            Opts::new("build_info", "Always 1; the labels say what runs.")
                .const_label("service", env!("CARGO_PKG_NAME"))
                .const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        registrar.register(build_info)?.set(1.0);
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        let families = Families {
            http: http::Http::new(&registrar)?,
            hashing: hashing::Hashing::new(&registrar)?,
            dependencies: dependencies::Dependencies::new(&registrar)?,
            telemetry: telemetry::Telemetry::new(&registrar)?,
            registry,
        };
        families.http.begin();
        families.hashing.begin();
        families.dependencies.begin();
        families.telemetry.begin();
        Ok(Self(Arc::new(families)))
    }

    /// Registers the metrics of a slice or of a layer above, which owns them.
    #[must_use]
    pub fn registrar(&self) -> Registrar<'_> {
        Registrar(&self.0.registry)
    }

    /// Everything, in Prometheus' text format.
    ///
    /// # Errors
    /// When a metric can't be encoded.
    pub fn encode(&self) -> prometheus::Result<String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// What has not ended yet.
pub struct InFlight(IntGauge);

impl InFlight {
    /// Counts it until this is dropped.
    #[must_use]
    pub fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn integer(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
