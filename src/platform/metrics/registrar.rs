//! Creates and registers metrics.

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, Result,
};

/// Upper bounds, in seconds: 1 ms to 10 s, fine enough for p50, p95 and p99 of operations that take
/// a millisecond or a second.
pub const SECONDS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.4, 0.6, 1.0, 1.75, 2.5, 5.0, 10.0,
];

/// Registers the metrics it creates. Each method fails if the name is already registered.
pub struct Registrar<'registry>(pub(super) &'registry Registry);

impl Registrar<'_> {
    /// A counter.
    ///
    /// # Errors
    /// When the name is already registered.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter> {
        self.register(IntCounter::new(name, help)?)
    }

    /// A counter for each set of values of its labels.
    ///
    /// # Errors
    /// When the name is already registered.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
        self.register(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    /// A gauge.
    ///
    /// # Errors
    /// When the name is already registered.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge> {
        self.register(IntGauge::new(name, help)?)
    }

    /// A gauge for each set of values of its labels.
    ///
    /// # Errors
    /// When the name is already registered.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// A histogram with these upper bounds.
    ///
    /// # Errors
    /// When the name is already registered.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(options)?)
    }

    /// A histogram of seconds for each set of values of its labels.
    ///
    /// # Errors
    /// When the name is already registered.
    pub fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        self.register(HistogramVec::new(options, labels)?)
    }

    /// Registers an existing metric.
    ///
    /// # Errors
    /// When the name is already registered.
    pub fn register<C: Collector + Clone + 'static>(&self, metric: C) -> Result<C> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}
