//! Metrics of the process, by the names that Prometheus' own libraries use for them.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Result};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System, get_current_pid};

/// Reads the process from the system whenever it is collected. A value that the system does not
/// report keeps its last one.
pub(super) struct Process {
    id: Pid,
    system: Mutex<System>,
    cpu: Counter,
    resident: Gauge,
    virtual_memory: Gauge,
    start: Gauge,
    open_files: Gauge,
    max_files: Gauge,
    threads: Gauge,
}

impl Process {
    /// `None` on a system that has no such values.
    pub fn new() -> Result<Option<Self>> {
        let (Ok(id), Ok(system)) = (get_current_pid(), System::new()) else {
            return Ok(None);
        };
        let gauge = |name: &str, help: &str| Gauge::new(format!("process_{name}"), help);
        Ok(Some(Self {
            id,
            system: Mutex::new(system),
            cpu: Counter::new(
                "process_cpu_seconds_total",
                "Total user and system CPU time spent in seconds.",
            )?,
            resident: gauge("resident_memory_bytes", "Resident memory size in bytes.")?,
            virtual_memory: gauge("virtual_memory_bytes", "Virtual memory size in bytes.")?,
            start: gauge(
                "start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
            )?,
            open_files: gauge("open_fds", "Number of open file descriptors.")?,
            max_files: gauge("max_fds", "Maximum number of open file descriptors.")?,
            threads: gauge("threads", "Number of OS threads in the process.")?,
        }))
    }

    fn collectors(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu,
            &self.max_files,
            &self.open_files,
            &self.resident,
            &self.start,
            &self.threads,
            &self.virtual_memory,
        ]
    }

    fn read(&self) {
        // Nothing that can panic runs under the lock.
        let mut system = self.system.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = ProcessRefreshKind::nothing()
            .with_cpu()
            .with_memory()
            .with_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[self.id]), true, wanted);
        let Some(process) = system.process(self.id) else {
            return;
        };
        let seconds = number(process.accumulated_cpu_time()) / 1e3;
        self.cpu.inc_by((seconds - self.cpu.get()).max(0.0));
        self.resident.set(number(process.memory()));
        self.virtual_memory.set(number(process.virtual_memory()));
        self.start.set(number(process.start_time()));
        for (gauge, count) in [
            (&self.open_files, process.open_files()),
            (&self.max_files, process.open_files_limit()),
            (&self.threads, process.tasks().map(HashSet::len)),
        ] {
            if let Some(count) = count {
                gauge.set(number(u64::try_from(count).unwrap_or(u64::MAX)));
            }
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a metric is a float; these are exact up to 2^53"
)]
fn number(value: u64) -> f64 {
    value as f64
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        let collectors = self.collectors().into_iter();
        collectors.flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        let collectors = self.collectors().into_iter();
        collectors.flat_map(Collector::collect).collect()
    }
}
