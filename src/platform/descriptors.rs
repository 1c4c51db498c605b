//! The limit of open files, which bounds threads and connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files used by each of the server's threads.
const A_WORKER: u64 = 8;

/// Files used by everything else: the log, the database files, short-lived files.
const THE_REST: u64 = 64;

/// Raises the soft limit of open files to the hard limit, and returns it; `None` if there is none.
#[must_use]
pub fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Where the system refuses, the soft limit stays.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current
}

/// The numbers of threads and client connections that fit into a limit of open files, beside the
/// database connections; never more than requested, and at least one of each.
#[must_use]
pub fn fit(limit: u64, workers: usize, clients: usize, databases: u32) -> (usize, usize) {
    let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let free = limit.saturating_sub(THE_REST + u64::from(databases));
    // Threads without a connection to serve are useless: they get half at most.
    let workers = workers.min(number(free / 2 / A_WORKER)).max(1);
    let threads = u64::try_from(workers).unwrap_or(u64::MAX) * A_WORKER;
    let clients = clients.min(number(free.saturating_sub(threads))).max(1);
    (workers, clients)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_do_not_fit_are_reduced() {
        assert_eq!(fit(1_000_000, 4, 4096, 20), (4, 4096));
        assert_eq!(fit(1024, 4, 4096, 20), (4, 1024 - 64 - 20 - 32));
        let (workers, clients) = fit(1024, 256, 4096, 20);
        assert!(workers * 8 + clients + 84 <= 1024 && workers > 50 && clients > 400);
        assert_eq!(fit(10, 256, 4096, 20), (1, 1));
    }
}
