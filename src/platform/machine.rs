//! How full the machine is: CPU, memory and disk, within the limits of a container.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use sysinfo::{Disks, MINIMUM_CPU_UPDATE_INTERVAL, MemoryRefreshKind, System};

/// Samples the machine. One sample at a time: a disk that hangs holds up one thread, not more.
pub struct Machine {
    folder: PathBuf,
    sampler: Mutex<Sampler>,
}

struct Sampler {
    /// `None` on a system that sysinfo does not know.
    system: Option<System>,
    last: Option<(Instant, Sample)>,
}

/// How full the machine is, each from 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Of all cores.
    pub cpu_percent: f64,
    /// Of the container's limit where there is one, else of the machine.
    pub memory_percent: f64,
    /// Of the disk with the data folder; `None` where the system does not tell.
    pub disk_percent: Option<f64>,
}

impl Machine {
    /// `folder` says which disk counts.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        let mut system = System::new().ok();
        if let Some(system) = &mut system {
            system.refresh_cpu_usage();
        }
        Self {
            folder: folder.to_path_buf(),
            sampler: Mutex::new(Sampler { system, last: None }),
        }
    }

    /// Takes a sample, or gives the last one if it is fresh. Blocks: not for an async thread.
    ///
    /// `None` while another sample is under way, or where the system does not tell.
    #[must_use]
    pub fn sample(&self) -> Option<Sample> {
        const FRESH: Duration = Duration::from_secs(1);
        let mut sampler = self.sampler.try_lock().ok()?;
        if let Some((at, sample)) = sampler.last
            && at.elapsed() < FRESH
        {
            return Some(sample);
        }
        if sampler.last.is_none() {
            // The first reading needs a span of time to compare.
            std::thread::sleep(MINIMUM_CPU_UPDATE_INTERVAL);
        }
        let system = sampler.system.as_mut()?;
        system.refresh_cpu_usage();
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        let sample = Sample {
            cpu_percent: round(f64::from(system.global_cpu_usage())),
            memory_percent: memory_percent(system),
            disk_percent: disk_percent(&self.folder),
        };
        sampler.last = Some((Instant::now(), sample));
        Some(sample)
    }
}

fn memory_percent(system: &System) -> f64 {
    let machine = percent(
        system
            .total_memory()
            .saturating_sub(system.available_memory()),
        system.total_memory(),
    );
    // A container's page cache counts against its limit but is given back under pressure, so
    // what is resident decides.
    let container = system
        .cgroup_limits()
        .filter(|limits| limits.total_memory < system.total_memory())
        .map(|limits| percent(limits.rss, limits.total_memory));
    container.unwrap_or(machine)
}

fn disk_percent(folder: &Path) -> Option<f64> {
    let folder = folder.canonicalize().ok()?;
    let disks = Disks::new_with_refreshed_list().ok()?;
    disks
        .iter()
        .filter(|disk| disk.total_space() > 0 && folder.starts_with(disk.mount_point()))
        .max_by_key(|disk| disk.mount_point().as_os_str().len())
        .map(|disk| {
            percent(
                disk.total_space().saturating_sub(disk.available_space()),
                disk.total_space(),
            )
        })
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
    use super::*;

    #[test]
    fn a_sample_is_within_bounds_and_kept_for_a_moment() {
        let machine = Machine::new(Path::new("."));
        let first = machine.sample().expect("nobody else samples");
        assert!((0.0..=100.0).contains(&first.memory_percent), "{first:?}");
        assert!((0.0..=100.0).contains(&first.cpu_percent), "{first:?}");
        assert_eq!(machine.sample(), Some(first));
    }

    #[test]
    fn a_sample_under_way_is_not_waited_for() {
        let machine = Machine::new(Path::new("."));
        let _held = machine.sampler.lock().expect("first");
        assert_eq!(machine.sample(), None);
    }
}
