//! The pool of hashing threads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::queue::{Engine, HashQueue};
use super::{HashError, PasswordHasher, known_answers, worker};
use crate::config::HashingSettings as Settings;
use crate::domain::{Candidate, PasswordHash};
use crate::platform::client::Network;
use crate::platform::clock::Randomness;
use crate::platform::metrics::Metrics;

/// The pool. After it is dropped, it begins no more hashes; those in progress complete.
pub struct Pool {
    queue: Arc<HashQueue>,
}

impl Pool {
    /// Starts the threads, with lanes if they pass the known answer test.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        settings: Settings,
        randomness: Arc<dyn Randomness>,
        metrics: Metrics,
    ) -> std::io::Result<Self> {
        let engine = if known_answers::lanes_are_right() {
            Engine::Lanes(settings.lanes)
        } else {
            tracing::error!(
                "hashing in lanes produces wrong hashes on this machine: hashing one by one, \
                 several times slower; please report it"
            );
            Engine::OneByOne
        };
        Self::start_with(engine, settings, randomness, metrics)
    }

    /// The expected duration of one hash on an idle pool.
    #[must_use]
    pub fn one_hash(&self) -> Duration {
        self.queue.one_hash()
    }

    fn start_with(
        engine: Engine,
        settings: Settings,
        randomness: Arc<dyn Randomness>,
        metrics: Metrics,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(HashQueue::new(engine, settings, randomness, metrics));
        queue.metrics.lanes(queue.slots());
        let pool = Self { queue };
        for thread in 0..settings.threads {
            let queue = Arc::clone(&pool.queue);
            std::thread::Builder::new()
                .name(format!("hashing-{thread}"))
                .spawn(move || worker::work(&queue, thread))?;
        }
        Ok(pool)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[async_trait]
impl PasswordHasher for Pool {
    async fn hash(
        &self,
        password: Candidate,
        client: Option<Network>,
        deadline: Instant,
    ) -> Result<PasswordHash, HashError> {
        self.queue.hash(password, client, deadline).await
    }

    fn admits(&self, client: Option<Network>, deadline: Instant) -> Result<(), HashError> {
        self.queue.admits(client, deadline)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::{Condvar, Mutex, PoisonError};

    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use secrecy::SecretString;

    use super::*;
    use crate::domain::Password;
    use crate::hashing::bcrypt_sha256;
    use crate::hashing::queue::PROBE_AFTER;

    /// The time limit for anything that a test waits for.
    const LIMIT: Duration = Duration::from_secs(30);

    type Hashing<'a> = Pin<Box<dyn Future<Output = Result<PasswordHash, HashError>> + Send + 'a>>;

    /// A source of salts that blocks its callers until it is opened.
    #[derive(Default)]
    struct Gate {
        state: Mutex<GateState>,
        changed: Condvar,
    }

    #[derive(Default)]
    struct GateState {
        open: bool,
        /// The thread of each requested salt.
        asked: Vec<String>,
    }

    impl Gate {
        fn open(&self) {
            self.state.lock().expect("no panic").open = true;
            self.changed.notify_all();
        }

        /// Waits until this many salts were requested, that is, this many hashes have begun.
        fn wait_for(&self, count: usize) {
            let state = self.state.lock().expect("no panic");
            let (state, _) = self
                .changed
                .wait_timeout_while(state, LIMIT, |state| state.asked.len() < count)
                .expect("no panic");
            assert_eq!(state.asked.len(), count);
        }

        fn asked(&self) -> Vec<String> {
            self.state.lock().expect("no panic").asked.clone()
        }
    }

    impl Randomness for Gate {
        fn bytes(&self) -> [u8; 16] {
            let mut state = self.state.lock().expect("no panic");
            let name = std::thread::current().name().map(str::to_owned);
            state.asked.push(name.unwrap_or_default());
            let salt = u8::try_from(state.asked.len()).expect("few");
            self.changed.notify_all();
            let _open = self
                .changed
                .wait_timeout_while(state, LIMIT, |state| !state.open)
                .expect("no panic");
            [salt; 16]
        }
    }

    /// One hash at a time in each thread, at the lowest cost.
    const ONE_LANE: Settings = Settings {
        cost: 4,
        threads: 1,
        lanes: 1,
        queue: 10,
        nice: 0,
    };

    fn start(settings: Settings, randomness: Arc<dyn Randomness>) -> Pool {
        let metrics = Metrics::new().expect("names that differ");
        Pool::start(settings, randomness, metrics).expect("threads")
    }

    /// A pool whose hashes wait at the gate.
    fn gated(settings: Settings) -> (Pool, Arc<Gate>) {
        let gate = Arc::new(Gate::default());
        let pool = start(settings, Arc::clone(&gate) as Arc<dyn Randomness>);
        (pool, gate)
    }

    fn pool(threads: usize, queue: usize) -> (Pool, Arc<Gate>) {
        gated(Settings {
            threads,
            queue,
            ..ONE_LANE
        })
    }

    fn set_hash(pool: &Pool, time: Duration) {
        let mut state = pool.queue.lock();
        state.one_hash = time;
        state.full_hash = time;
    }

    const PASSWORD: &str = "correct horse battery staple";

    fn password() -> Candidate {
        Candidate::parse(SecretString::from(PASSWORD), &[]).expect("valid")
    }

    /// The same, as it is hashed.
    fn estimated() -> Password {
        Password::parse(SecretString::from(PASSWORD), &[]).expect("valid")
    }

    fn far() -> Instant {
        Instant::now() + 10 * LIMIT
    }

    /// Requests a hash that has to wait.
    fn waiting(pool: &Pool) -> Hashing<'_> {
        let mut hashing = pool.hash(password(), None, far());
        assert!(
            (&mut hashing).now_or_never().is_none(),
            "completed immediately"
        );
        hashing
    }

    /// Requests a hash that completes immediately.
    fn at_once(pool: &Pool, deadline: Instant) -> Result<PasswordHash, HashError> {
        pool.hash(password(), None, deadline)
            .now_or_never()
            .expect("an immediate result")
    }

    #[tokio::test]
    async fn hashing_is_bounded_and_never_on_an_async_thread() {
        let (pool, gate) = pool(2, 10);
        let hashings: Vec<Hashing<'_>> = (0..5).map(|_| waiting(&pool)).collect();
        gate.wait_for(2);
        assert_eq!(pool.queue.lock().queue.len(), 3);

        gate.open();
        let hashes = join_all(hashings).await;
        assert!(hashes.iter().all(Result::is_ok), "{hashes:?}");
        let threads: BTreeSet<String> = gate.asked().into_iter().collect();
        let own = ["hashing-0", "hashing-1"].map(str::to_owned);
        assert!(threads.is_subset(&own.into()), "{threads:?}");
        assert_eq!(gate.asked().len(), 5, "one salt each");
    }

    #[tokio::test]
    async fn a_full_queue_refuses_immediately_and_says_when_to_retry() {
        let (pool, gate) = pool(1, 2);
        let mut hashings = vec![waiting(&pool)];
        gate.wait_for(1);
        hashings.extend([waiting(&pool), waiting(&pool)]);

        let retry_after = pool.queue.lock().full_hash * 3;
        assert!(retry_after > Duration::ZERO);
        assert_eq!(
            at_once(&pool, far()),
            Err(HashError::Overloaded { retry_after })
        );

        gate.open();
        let hashes = join_all(hashings).await;
        assert!(hashes.iter().all(Result::is_ok), "{hashes:?}");
        assert_eq!(gate.asked().len(), 3, "refused passwords were not hashed");
    }

    #[tokio::test]
    async fn a_hash_that_would_miss_its_deadline_is_refused_immediately() {
        let (pool, gate) = pool(1, 10);
        let hour = Duration::from_hours(1);
        set_hash(&pool, hour);
        // An idle pool accepts one password to check its estimate.
        let idle = at_once(&pool, Instant::now() + hour / 2);
        let Err(HashError::Overloaded { retry_after }) = idle else {
            panic!("{idle:?}");
        };
        assert!(retry_after > Duration::ZERO && retry_after <= PROBE_AFTER);

        set_hash(&pool, Duration::ZERO);
        let first = waiting(&pool);
        gate.wait_for(1);
        set_hash(&pool, hour);
        let behind_one = at_once(&pool, Instant::now() + hour * 3 / 2);
        let retry_after = hour;
        assert_eq!(behind_one, Err(HashError::Overloaded { retry_after }));

        gate.open();
        assert!(first.await.is_ok());
        assert_eq!(gate.asked().len(), 1, "refused passwords were not hashed");
    }

    #[tokio::test]
    async fn an_estimate_that_refuses_everything_is_probed() {
        let (pool, gate) = pool(2, 10);
        gate.open();
        let deadline = || Instant::now() + LIMIT;
        set_hash(&pool, LIMIT * 2);
        assert!(
            at_once(&pool, deadline()).is_err(),
            "it is trusted for a while"
        );

        // Each probe halves it, until every password is accepted again.
        let mut probes = 0;
        while pool.queue.lock().one_hash > LIMIT {
            let long_ago = Instant::now().checked_sub(PROBE_AFTER);
            pool.queue.lock().measured = long_ago.expect("the machine is up that long");
            pool.hash(password(), None, deadline())
                .await
                .expect("a probe");
            probes += 1;
        }
        assert!((1..=2).contains(&probes), "{probes}");
        pool.hash(password(), None, deadline())
            .await
            .expect("no probe");
    }

    #[tokio::test]
    async fn a_probe_completes_after_its_client_disconnected() {
        let (pool, gate) = pool(1, 10);
        set_hash(&pool, LIMIT * 20);
        let long_ago = Instant::now().checked_sub(PROBE_AFTER);
        pool.queue.lock().measured = long_ago.expect("the machine is up that long");
        let leaver = waiting(&pool);
        gate.wait_for(1);
        drop(leaver);
        gate.open();
        let begun = Instant::now();
        while pool.queue.lock().one_hash == LIMIT * 20 {
            assert!(begun.elapsed() < LIMIT, "the estimate did not change");
            tokio::task::yield_now().await;
        }
    }

    fn network(last: u8) -> Network {
        let client = crate::platform::client::Client {
            address: [192, 0, 2, last].into(),
            through_trusted_proxy: false,
        };
        client.network()
    }

    /// Requests a hash for a network, which has to wait.
    fn waiting_for(pool: &Pool, network: Network) -> Hashing<'_> {
        // Far beyond any estimate of a hash that a test sets.
        let deadline = Instant::now() + Duration::from_hours(1000);
        let mut hashing = pool.hash(password(), Some(network), deadline);
        assert!(
            (&mut hashing).now_or_never().is_none(),
            "completed immediately"
        );
        hashing
    }

    #[tokio::test]
    async fn a_newcomer_takes_a_place_of_the_network_that_has_most() {
        let (pool, gate) = pool(1, 4);
        let (crowd, newcomer) = (network(1), network(2));
        let mut hashings = vec![waiting_for(&pool, crowd)];
        gate.wait_for(1);
        hashings.extend((0..4).map(|_| waiting_for(&pool, crowd)));
        assert!(pool.admits(Some(crowd), far()).is_err());
        assert_eq!(pool.admits(Some(newcomer), far()), Ok(()));
        let honest = waiting_for(&pool, newcomer);
        let newest = hashings.pop().expect("five").now_or_never();
        let newest = newest.expect("an immediate result");
        assert!(
            matches!(newest, Err(HashError::Overloaded { .. })),
            "{newest:?}"
        );

        gate.open();
        assert!(honest.await.is_ok());
        let hashes = join_all(hashings).await;
        assert!(hashes.iter().all(Result::is_ok), "{hashes:?}");
        assert_eq!(gate.asked().len(), 5);
    }

    #[tokio::test]
    async fn the_wait_depends_on_the_networks_own_turns() {
        let (pool, gate) = pool(1, 100);
        let (crowd, newcomer) = (network(1), network(2));
        let mut hashings = vec![waiting_for(&pool, crowd)];
        gate.wait_for(1);
        hashings.extend((0..50).map(|_| waiting_for(&pool, crowd)));
        let hour = Duration::from_hours(1);
        set_hash(&pool, hour);
        // One is in progress and one of the flood goes before: with the margin, 4.25 hours.
        assert_eq!(
            pool.admits(Some(newcomer), Instant::now() + hour * 5),
            Ok(())
        );
        let retry_after = hour * 51;
        let refused = pool.admits(Some(crowd), Instant::now() + hour * 5);
        assert_eq!(refused, Err(HashError::Overloaded { retry_after }));
        gate.open();
        drop(hashings);
    }

    #[tokio::test]
    async fn a_hash_that_would_miss_its_deadline_leaves_its_place_to_others() {
        let (pool, gate) = pool(1, 10);
        let first = waiting(&pool);
        gate.wait_for(1);
        let hour = Duration::from_hours(1);
        let mut late = pool.hash(password(), None, Instant::now() + hour);
        assert!((&mut late).now_or_never().is_none());
        // The machine became slower than estimated.
        set_hash(&pool, hour * 2);
        gate.open();
        assert!(first.await.is_ok());
        let refused = late.await;
        assert!(
            matches!(refused, Err(HashError::Overloaded { .. })),
            "{refused:?}"
        );
        assert_eq!(gate.asked().len(), 1);
    }

    #[tokio::test]
    async fn a_guessable_password_takes_a_lane_and_is_not_hashed() {
        let (pool, gate) = pool(1, 10);
        let guessable = Candidate::parse(SecretString::from("z".repeat(20)), &[]);
        let guessable = guessable.expect("it passes the immediate checks");
        let refused = pool.hash(guessable, None, far()).await;
        assert!(
            matches!(&refused, Err(HashError::Guessable(rule)) if rule.code == "too_guessable")
        );
        assert_eq!(gate.asked().len(), 0);
        gate.open();
        assert!(pool.hash(password(), None, far()).await.is_ok());
    }

    #[test]
    fn a_thread_that_was_stopped_hardly_changes_the_estimate() {
        let (pool, _gate) = pool(1, 1);
        let mut state = pool.queue.lock();
        state.one_hash = Duration::from_millis(200);
        state.measure(Duration::from_mins(1), true);
        assert!(
            state.one_hash < Duration::from_millis(230),
            "{:?}",
            state.one_hash
        );
    }

    #[tokio::test]
    async fn the_password_of_a_disconnected_client_is_not_hashed() {
        let (pool, gate) = pool(1, 10);
        let first = waiting(&pool);
        gate.wait_for(1);
        let leaver = waiting(&pool);
        let last = waiting(&pool);
        drop(leaver);

        gate.open();
        assert!(first.await.is_ok() && last.await.is_ok());
        assert_eq!(gate.asked().len(), 2);
    }

    #[tokio::test]
    async fn a_disconnected_client_takes_no_place_in_the_queue() {
        let (pool, gate) = pool(1, 1);
        let first = waiting(&pool);
        gate.wait_for(1);
        drop(waiting(&pool));

        let last = waiting(&pool);

        gate.open();
        assert!(first.await.is_ok() && last.await.is_ok());
    }

    #[tokio::test]
    async fn a_hash_whose_deadline_passed_in_the_queue_is_not_begun() {
        let (pool, gate) = pool(1, 10);
        let first = waiting(&pool);
        gate.wait_for(1);
        let late = waiting(&pool);
        pool.queue.lock().queue.retain(|job| {
            job.order.deadline = Instant::now();
            true
        });

        gate.open();
        assert!(first.await.is_ok());
        let refused = late.await;
        assert!(
            matches!(refused, Err(HashError::Overloaded { .. })),
            "{refused:?}"
        );
        assert_eq!(gate.asked().len(), 1);
    }

    #[tokio::test]
    async fn a_panic_costs_one_hash_and_no_thread() {
        /// Fails the first time.
        #[derive(Default)]
        struct Broken(Mutex<bool>);
        impl Randomness for Broken {
            fn bytes(&self) -> [u8; 16] {
                let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                assert!(std::mem::replace(&mut *asked, true), "no randomness");
                [7; 16]
            }
        }
        let pool = start(ONE_LANE, Arc::new(Broken::default()));
        let failed = pool.hash(password(), None, far()).await;
        assert_eq!(failed.expect_err("it panics"), HashError::Failed);
        pool.hash(password(), None, far())
            .await
            .expect("the thread still runs");
    }

    #[tokio::test]
    async fn a_dropped_pool_completes_only_what_it_has_begun() {
        let (pool, gate) = pool(1, 10);
        let asking = Pool {
            queue: Arc::clone(&pool.queue),
        };
        let begun = waiting(&asking);
        gate.wait_for(1);
        let queued = waiting(&asking);

        drop(pool);
        assert_eq!(queued.await, Err(HashError::Stopped));
        assert_eq!(at_once(&asking, far()), Err(HashError::Stopped));

        gate.open();
        assert!(begun.await.is_ok());
        assert_eq!(gate.asked().len(), 1);
    }

    /// The cost at which a hash takes seconds, longer than anything else here.
    const LONG: u32 = 16;

    #[tokio::test]
    async fn a_password_joins_while_another_is_hashed() {
        let (pool, gate) = gated(Settings {
            cost: 12,
            lanes: 2,
            ..ONE_LANE
        });
        gate.open();
        let mut first = waiting(&pool);
        gate.wait_for(1);
        let second = waiting(&pool);
        gate.wait_for(2);
        assert!(
            (&mut first).now_or_never().is_none(),
            "it waited for the first"
        );
        assert!(first.await.is_ok() && second.await.is_ok());
    }

    #[tokio::test]
    async fn work_spreads_over_the_threads_before_lanes_fill_up() {
        let (pool, gate) = gated(Settings {
            cost: LONG,
            threads: 2,
            lanes: 8,
            ..ONE_LANE
        });
        gate.open();
        for count in 1..=6 {
            let hashing = waiting(&pool);
            gate.wait_for(count);
            // Never dropped: it is in progress until the test ends.
            std::mem::forget(hashing);
            let in_use = pool.queue.lock().in_use.clone();
            assert!(in_use[0].abs_diff(in_use[1]) <= 1, "{in_use:?}");
            assert_eq!(in_use[0] + in_use[1], count);
        }
    }

    #[tokio::test]
    async fn a_hash_whose_client_disconnected_is_abandoned() {
        let (pool, gate) = gated(Settings {
            cost: LONG,
            ..ONE_LANE
        });
        gate.open();
        let leaver = waiting(&pool);
        gate.wait_for(1);
        let begun = Instant::now();
        drop(leaver);
        let next = waiting(&pool);
        gate.wait_for(2);
        let one_hash = pool.queue.lock().one_hash;
        assert!(
            begun.elapsed() < one_hash / 2,
            "{:?} of {one_hash:?}",
            begun.elapsed()
        );
        drop(next);
    }

    #[tokio::test]
    async fn a_hash_whose_deadline_passes_is_refused_then_and_abandoned() {
        let (pool, gate) = gated(Settings {
            cost: LONG,
            ..ONE_LANE
        });
        gate.open();
        set_hash(&pool, Duration::ZERO);
        let refused = pool
            .hash(password(), None, Instant::now() + LIMIT / 300)
            .await;
        assert!(matches!(refused, Err(HashError::Overloaded { .. })));
        gate.wait_for(1);
        let next = waiting(&pool);
        gate.wait_for(2);
        drop(next);
    }

    #[tokio::test]
    async fn without_lanes_the_hashes_are_those_of_the_crate() {
        let metrics = Metrics::new().expect("names that differ");
        let gate = Arc::new(Gate::default());
        gate.open();
        let randomness = Arc::clone(&gate) as Arc<dyn Randomness>;
        let pool = Pool::start_with(Engine::OneByOne, ONE_LANE, randomness, metrics);
        let pool = pool.expect("threads");
        for salt in 1..=3 {
            let hash = pool.hash(password(), None, far()).await.expect("a hash");
            let expected = bcrypt_sha256::hash(&estimated(), 4, [salt; 16]);
            assert_eq!(hash.as_str(), expected.as_str());
        }
    }

    #[tokio::test]
    async fn full_lanes_make_the_hashes_of_the_crate() {
        let (pool, gate) = gated(Settings {
            cost: 5,
            threads: 2,
            lanes: 8,
            queue: 100,
            ..ONE_LANE
        });
        gate.open();
        let hashes = join_all((0..60).map(|_| pool.hash(password(), None, far()))).await;
        let mut made: Vec<String> = hashes
            .into_iter()
            .map(|hash| hash.expect("a hash").as_str().to_owned())
            .collect();
        let expected = |salt| bcrypt_sha256::hash(&estimated(), 5, [salt; 16]);
        let mut expected: Vec<String> = (1..=60)
            .map(|salt| expected(salt).as_str().to_owned())
            .collect();
        made.sort_unstable();
        expected.sort_unstable();
        assert_eq!(made, expected);
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn threads_have_a_low_priority() {
        let (pool, gate) = gated(Settings {
            nice: 7,
            ..ONE_LANE
        });
        let hashing = waiting(&pool);
        gate.wait_for(1);
        let nices = std::fs::read_dir("/proc/self/task")
            .expect("threads")
            .filter_map(|thread| {
                let stat = std::fs::read_to_string(thread.ok()?.path().join("stat")).ok()?;
                // After the name in brackets, `nice` is the 17th field: proc_pid_stat(5).
                let (_, fields) = stat.rsplit_once(") ")?;
                fields.split(' ').nth(16).map(str::to_owned)
            });
        assert!(nices.into_iter().any(|nice| nice == "7"));
        gate.open();
        assert!(hashing.await.is_ok());
    }
}
