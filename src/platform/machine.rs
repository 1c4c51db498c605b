//! CPU, memory and disk usage, within the limits of a container.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sysinfo::{
    CGroupLimits, MINIMUM_CPU_UPDATE_INTERVAL, MemoryRefreshKind, ProcessRefreshKind,
    ProcessesToUpdate, System, get_current_pid,
};
use tokio::sync::Mutex;

use crate::platform::clock;

/// Samples the machine, one sample at a time: a disk that hangs blocks one thread, not more.
pub struct Machine {
    sampler: Arc<Mutex<Sampler>>,
}

struct Sampler {
    /// The folder whose disk is measured.
    folder: PathBuf,
    /// `None` on systems that sysinfo does not support.
    system: Option<System>,
    last: Option<(Instant, Sample)>,
}

/// A sample of the machine's usage, each value from 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Of all cores.
    pub cpu_percent: f64,
    /// Of the container's limit if there is one, else of the machine.
    pub memory_percent: f64,
    /// Of the disk with the data folder; `None` if the system does not report it.
    pub disk_percent: Option<f64>,
}

impl Machine {
    /// Samples the disk of `folder`.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        let mut system = System::new().ok();
        if let Some(system) = &mut system {
            system.refresh_cpu_usage();
        }
        Self {
            sampler: Arc::new(Mutex::new(Sampler {
                folder: folder.to_path_buf(),
                system,
                last: None,
            })),
        }
    }

    /// The memory that the process may use, in bytes: the limit of its control group (such as a
    /// container's, or systemd's `MemoryMax`) if there is one, else the machine's total. `None` if the
    /// system does not report it.
    #[must_use]
    pub fn memory_limit(&self) -> Option<u64> {
        let mut system = System::new().ok()?;
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let limited = limits(&mut system).map(|limits| limits.total_memory);
        let least = limited.unwrap_or(u64::MAX).min(system.total_memory());
        (least > 0).then_some(least)
    }

    /// Takes a sample, or returns the last one if it is recent. Waits for a sample in progress, for
    /// ever if the system hangs. `None` if the system does not report usage.
    pub async fn sample(&self) -> Option<Sample> {
        let mut sampler = Arc::clone(&self.sampler).lock_owned().await;
        // The thread keeps the lock even if no caller waits for it any more.
        tokio::task::spawn_blocking(move || sampler.sample())
            .await
            .ok()?
    }
}

impl Sampler {
    fn sample(&mut self) -> Option<Sample> {
        const FRESH: Duration = Duration::from_secs(1);
        if let Some((at, sample)) = self.last
            && clock::since(at) < FRESH
        {
            return Some(sample);
        }
        if self.last.is_none() {
            // CPU usage is the difference of two readings.
            std::thread::sleep(MINIMUM_CPU_UPDATE_INTERVAL);
        }
        let system = self.system.as_mut()?;
        system.refresh_cpu_usage();
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let sample = Sample {
            cpu_percent: round(f64::from(system.global_cpu_usage())),
            memory_percent: memory_percent(system),
            disk_percent: disk_percent(&self.folder),
        };
        self.last = Some((clock::monotonic(), sample));
        Some(sample)
    }
}

/// The least limits of the process's control group and those above it, as far as they are visible: the
/// root alone has none outside of a container.
fn limits(system: &mut System) -> Option<CGroupLimits> {
    let own = get_current_pid().ok().and_then(|pid| {
        let kind = ProcessRefreshKind::nothing().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, kind);
        system.process(pid)?.cgroup_limits()
    });
    let visible = own.into_iter().chain(system.cgroup_limits());
    visible.min_by_key(|limits| limits.total_memory)
}

fn memory_percent(system: &mut System) -> f64 {
    let machine = percent(
        system
            .total_memory()
            .saturating_sub(system.available_memory()),
        system.total_memory(),
    );
    // A container's page cache counts against its limit but is reclaimed under pressure, so the
    // resident memory is measured.
    let total = system.total_memory();
    let container = limits(system)
        .filter(|limits| limits.total_memory < total)
        .map(|limits| percent(limits.rss, limits.total_memory));
    container.unwrap_or(machine)
}

/// Of the file system that contains the folder, of any kind: computed as by `df`, so without the
/// blocks reserved for root.
fn disk_percent(folder: &Path) -> Option<f64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let used = disk.f_blocks.saturating_sub(disk.f_bfree);
    let usable = used.saturating_add(disk.f_bavail);
    (usable > 0).then(|| percent(used, usable))
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "a percentage needs few digits")]
    let percent = part as f64 / whole as f64 * 100.0;
    round(percent)
}

fn round(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_sample_is_within_bounds_and_kept_for_a_moment() {
        let machine = Machine::new(Path::new("."));
        let first = machine.sample().await.expect("the system reports it");
        assert!((0.0..=100.0).contains(&first.memory_percent), "{first:?}");
        assert!((0.0..=100.0).contains(&first.cpu_percent), "{first:?}");
        assert_eq!(machine.sample().await, Some(first));
    }

    #[tokio::test]
    async fn a_sample_in_progress_is_shared() {
        let machine = Machine::new(Path::new("."));
        let (first, second) = tokio::join!(machine.sample(), machine.sample());
        assert!(first.is_some());
        assert_eq!(first, second);

        let _stuck = machine.sampler.lock().await;
        let third = machine.sample();
        assert!(third.now_or_never().is_none(), "no sample while it hangs");
    }
}
