//! The service with a memory limit, and clients that try to exhaust it: connections that idle, that
//! idle after making buffers grow, that pipeline, that do not read, that hardly write, and all of these
//! at once, while honest clients sign up and read.
//!
//! `MEMORY_SECONDS` sets the length of the last part, and the full number of connections; without it
//! the test is short, with fewer connections, and does not check the time of reads, which means nothing
//! in an unoptimised build. `make chaos` runs the long test on the release build.

mod attack;
mod honest;
mod limited;

use std::time::Duration;

use attack::Kind;
use limited::Limited;

/// The memory limit of the service, in bytes.
const LIMIT: u64 = 256 * 1024 * 1024;

/// The time limit for 99 of 100 reads of honest clients.
const SLOWEST_READ: Duration = Duration::from_millis(100);

/// Connections of each kind of attack.
const FULL: [(Kind, usize); 5] = [
    (Kind::Idle, 4096),
    (Kind::Grown, 3000),
    (Kind::Pipelining, 1000),
    (Kind::NotReading, 1000),
    (Kind::HardlyWriting, 1000),
];

#[expect(
    clippy::disallowed_methods,
    reason = "the length of a test is not a setting of the service"
)]
fn seconds() -> Option<u64> {
    std::env::var("MEMORY_SECONDS").ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attackers_cannot_exhaust_the_memory() {
    let seconds = seconds();
    let (share, alone, together) = match seconds {
        Some(seconds) => (1, Duration::from_secs(10), Duration::from_secs(seconds)),
        None => (4, Duration::from_secs(2), Duration::from_secs(6)),
    };
    let sockets = signup_service::platform::descriptors::raise();
    assert!(
        sockets.is_none_or(|most| most > 12_000 / share),
        "{sockets:?}"
    );
    let kinds = FULL.map(|(kind, count)| (kind, count / usize::try_from(share).expect("small")));

    let service = Limited::start(LIMIT);
    println!(
        "limited by {}; at rest {}",
        service.limited_by(),
        service.memory()
    );
    service.fill_with_the_largest_users();
    for (kind, count) in kinds {
        let attack = attack::start(service.address, &[(kind, count)]);
        tokio::time::sleep(alone).await;
        let reached = attack.stop().await;
        println!(
            "{count} connections, {kind:?}: {reached}; {}",
            service.memory()
        );
        service.assert_alive(&format!("{kind:?}"));
    }
    let attack = attack::start(service.address, &kinds);
    let figures = honest::clients(service.address, 16, together).await;
    let reached = attack.stop().await;
    println!("all at once: {reached}; {}", service.memory());
    println!("honest clients: {figures}");
    let cut = service.cut_for_memory().await;
    println!("{cut} connections closed for their memory");
    // Else the limit of the group would be all that bounds it.
    assert!(cut > 0 || !service.knows_its_limit());
    service.assert_alive("all at once");
    figures.check(seconds.map(|_| SLOWEST_READ));
    assert!(service.peak_bytes() < LIMIT, "{}", service.memory());
}
