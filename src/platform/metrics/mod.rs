//! Metrics: the registry that `/metrics` prints, and its metric families.
//!
//! Names and units follow Prometheus' guide; every label has a bounded set of values. Metrics of a
//! slice are defined in the slice, and registered by [`Metrics::registrar`]; to add one here, add a
//! field where it belongs, its line in `new` there, and a method that counts. `docs/reference/metrics.md`
//! lists them all.

mod access;
mod dependencies;
mod hashing;
mod http;
#[cfg(target_os = "linux")]
mod process;
mod registrar;
mod telemetry;

use std::sync::Arc;

use prometheus::{Encoder, Gauge, IntGauge, Opts, TextEncoder};

use registrar::Registered;
pub use registrar::{Described, Registrar};

pub use dependencies::{DatabasePool, PoolSize, Retry};
pub use hashing::{HashRefused, HashedAgain};
pub use http::{ABANDONED, ConnectionCut, known_method, status_text};
pub use telemetry::SpanDropped;

/// The metrics of a service. Clones share the same metrics.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

struct Families {
    registered: Registered,
    http: http::Http,
    hashing: hashing::Hashing,
    dependencies: dependencies::Dependencies,
    access: access::Access,
    telemetry: telemetry::Telemetry,
}

impl Metrics {
    /// Registers all metrics.
    ///
    /// # Errors
    /// When a name is registered twice.
    pub fn new() -> prometheus::Result<Self> {
        let registered = Registered::default();
        let registrar = Registrar(&registered);
        let build_info = Gauge::with_opts(
            Opts::new("build_info", "Always 1; the labels identify the build.")
                .const_label("service", env!("CARGO_PKG_NAME"))
                .const_label("version", env!("CARGO_PKG_VERSION")),
        )?;
        registrar.register("gauge", build_info)?.set(1.0);
        #[cfg(target_os = "linux")]
        registrar.register_process()?;
        let families = Families {
            http: http::Http::new(&registrar)?,
            hashing: hashing::Hashing::new(&registrar)?,
            dependencies: dependencies::Dependencies::new(&registrar)?,
            access: access::Access::new(&registrar)?,
            telemetry: telemetry::Telemetry::new(&registrar)?,
            registered,
        };
        families.http.begin();
        families.hashing.begin();
        families.dependencies.begin();
        families.telemetry.begin();
        Ok(Self(Arc::new(families)))
    }

    /// The registrar for the metrics that a slice or a layer above owns.
    #[must_use]
    pub fn registrar(&self) -> Registrar<'_> {
        Registrar(&self.0.registered)
    }

    /// Everything that is registered, in the order of registration.
    #[must_use]
    pub fn described(&self) -> Vec<Described> {
        self.0.registered.described().clone()
    }

    /// All metrics, in Prometheus' text format.
    ///
    /// # Errors
    /// When a metric can't be encoded.
    pub fn encode(&self) -> prometheus::Result<String> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.0.registered.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// Counts something as in progress until it is dropped.
pub struct InFlight(IntGauge);

impl InFlight {
    /// Increments the gauge until this is dropped.
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
