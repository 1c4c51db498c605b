//! Metrics of the process, by the names that Prometheus' own libraries use for them.

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
        // Its tasks are its threads without the main one.
        let threads = process.tasks().map(|tasks| tasks.len() + 1);
        for (gauge, count) in [
            (&self.open_files, process.open_files()),
            (&self.max_files, process.open_files_limit()),
            (&self.threads, threads),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of `/proc/self/status`.
    fn status(name: &str) -> f64 {
        let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.split_whitespace().nth(1));
        value.and_then(|value| value.parse().ok()).expect(name)
    }

    #[test]
    fn values_are_those_of_the_system() {
        let process = Process::new().expect("names that differ").expect("Linux");
        let read = || {
            process.collect();
            process.threads.get()
        };
        // Other tests may start threads meanwhile.
        let is_same = (0..100).any(|_| {
            let before = status("Threads");
            read().total_cmp(&before).is_eq()
        });
        assert!(is_same, "{} threads", process.threads.get());
        let resident = status("VmRSS") * 1024.0;
        let ratio = process.resident.get() / resident;
        assert!((0.5..2.0).contains(&ratio), "{ratio}");
        let files = std::fs::read_dir("/proc/self/fd").expect("files").count();
        let files = number(u64::try_from(files).expect("few"));
        assert!((process.open_files.get() - files).abs() < 50.0);
        assert!(process.max_files.get() >= process.open_files.get());
        let before = process.cpu.get();
        let begun = crate::platform::clock::monotonic();
        while crate::platform::clock::since(begun).as_millis() < 50 {}
        process.collect();
        assert!(process.cpu.get() > before && process.cpu.get() < before + 60.0);
        let now = crate::platform::clock::Clock::now(&crate::platform::clock::SystemClock);
        let now = number(u64::try_from(now.timestamp()).expect("after 1970"));
        assert!((now - process.start.get()).abs() < 3600.0);
    }
}
