//! The service with little memory, and clients that try to take all of it: connections that idle,
//! that idle after they have made buffers grow, that pipeline, that do not read, that hardly write, and all of these at once, while honest
//! clients sign up and read.
//!
//! `MEMORY_SECONDS` says how long the last part takes, and asks for the full numbers; without it
//! the test is a short one with fewer connections, which does not look at how long reads take: an
//! unoptimised build says nothing about that. `make chaos` runs the long one, on the release build.

mod attack;
mod honest;
mod limited;

use std::time::Duration;

use attack::Kind;
use limited::Limited;

/// What the service may use, in bytes.
const LIMIT: u64 = 256 * 1024 * 1024;

/// What 99 of 100 reads of honest clients may take.
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
    reason = "how long a test runs is no setting of the service"
)]
fn seconds() -> Option<u64> {
    std::env::var("MEMORY_SECONDS").ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_cannot_take_the_memory_of_others() {
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
    service.assert_alive("all at once");
    figures.check(seconds.map(|_| SLOWEST_READ));
    assert!(service.peak_bytes() < LIMIT, "{}", service.memory());
}
