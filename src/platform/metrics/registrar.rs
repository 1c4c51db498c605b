//! Creates and registers metrics.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, Result,
};

#[cfg(target_os = "linux")]
use super::process::Process;

/// Upper bounds, in seconds: 1 ms to 10 s, fine enough for p50, p95 and p99 of operations that take
/// a millisecond or a second.
pub const SECONDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.4, 0.6, 1.0, 1.75, 2.5, 5.0, 10.0,
];

/// A metric, as the reference page lists it.
#[derive(Debug, Clone)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// Its type: `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels, constant ones included.
    pub labels: Vec<String>,
    /// Its meaning.
    pub help: String,
}

/// A registry, and what is registered in it.
#[derive(Default)]
pub(super) struct Registered {
    pub(super) registry: Registry,
    described: Mutex<Vec<Described>>,
    /// Those of [`Registrar::shared_counters`], by name.
    shared: Mutex<HashMap<String, IntCounterVec>>,
}

impl Described {
    fn new(kind: &'static str, desc: &Desc) -> Self {
        let constant = desc
            .const_label_pairs
            .iter()
            .map(|pair| pair.name().to_owned());
        Self {
            name: desc.fq_name.clone(),
            kind,
            labels: constant
                .chain(desc.variable_labels.iter().cloned())
                .collect(),
            help: desc.help.clone(),
        }
    }
}

impl Registered {
    /// Everything that is registered, in the order of registration.
    pub(super) fn described(&self) -> MutexGuard<'_, Vec<Described>> {
        self.described
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Registers the metrics it creates. Each method fails if the name is already registered.
pub struct Registrar<'registered>(pub(super) &'registered Registered);

impl Registrar<'_> {
    /// A counter.
    ///
    /// # Errors
    /// When the name is already registered.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.register("counter", IntCounter::new(name, help)?)
    }

    /// A counter for each set of values of its labels.
    ///
    /// # Errors
    /// When the name is already registered.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.register(
            "counter",
            IntCounterVec::new(Opts::new(name, help), labels)?,
        )
    }

    /// The same of an operation that several listeners serve: all of them count in the one that was
    /// registered first.
    ///
    /// # Errors
    /// When the name is already registered by something else.
    pub fn shared_counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec> {
        let mut shared = self.0.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counters) = shared.get(name) {
            return Ok(counters.clone());
        }
        let counters = self.counters(name, help, labels)?;
        shared.insert(name.to_owned(), counters.clone());
        Ok(counters)
    }

    /// A gauge.
    ///
    /// # Errors
    /// When the name is already registered.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.register("gauge", IntGauge::new(name, help)?)
    }

    /// A gauge for each set of values of its labels.
    ///
    /// # Errors
    /// When the name is already registered.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.register("gauge", IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// A histogram with these upper bounds.
    ///
    /// # Errors
    /// When the name is already registered.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register("histogram", Histogram::with_opts(options)?)
    }

    /// A histogram of seconds for each set of values of its labels.
    ///
    /// # Errors
    /// When the name is already registered.
    pub fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        self.register("histogram", HistogramVec::new(options, labels)?)
    }

    /// Registers an existing metric.
    ///
    /// # Errors
    /// When the name is already registered.
    pub fn register<C: Collector + Clone + 'static>(
        &self,
        kind: &'static str,
        metric: C,
    ) -> Result<C> {
        self.0.registry.register(Box::new(metric.clone()))?;
        let described = metric.desc();
        self.0
            .described()
            .extend(described.into_iter().map(|desc| Described::new(kind, desc)));
        Ok(metric)
    }

    /// Registers the metrics of the process.
    ///
    /// # Errors
    /// When a name is already registered.
    #[cfg(target_os = "linux")]
    pub(super) fn register_process(&self) -> Result<()> {
        let Some(process) = Process::new()? else {
            return Ok(());
        };
        self.0
            .described()
            .extend(process.desc().into_iter().map(|desc| {
                let is_total = desc.fq_name.ends_with("_total");
                Described::new(if is_total { "counter" } else { "gauge" }, desc)
            }));
        self.0.registry.register(Box::new(process))
    }
}
