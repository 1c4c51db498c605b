//! The pool of hashing threads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::alone::Alone;
use super::queue::{Engine, HashQueue};
use super::stored::Kind;
use super::{Class, HashError, PasswordHasher, StoredHash, known_answers, worker};
use crate::config::HashingSettings as Settings;
use crate::domain::{Candidate, PasswordHash, PresentedPassword};
use crate::platform::client::Network;
use crate::platform::clock::Randomness;
use crate::platform::metrics::Metrics;

/// The pool. After it is dropped, it begins no more hashes; those in progress complete.
pub struct Pool {
    queue: Arc<HashQueue>,
    /// For stored hashes that are not bcrypt.
    alone: Arc<Alone>,
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
        let alone = Alone::start(metrics.clone(), settings.nice)?;
        let queue = Arc::new(HashQueue::new(engine, settings, randomness, metrics));
        queue.metrics.lanes(queue.slots());
        let pool = Self { queue, alone };
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
        self.alone.close();
    }
}

#[async_trait]
impl PasswordHasher for Pool {
    async fn hash(
        &self,
        password: Candidate,
        class: Class,
        client: Option<Network>,
        deadline: Instant,
    ) -> Result<PasswordHash, HashError> {
        self.queue.hash(password, class, client, deadline).await
    }

    async fn verify(
        &self,
        password: PresentedPassword,
        stored: StoredHash,
        class: Class,
        client: Option<Network>,
        deadline: Instant,
    ) -> Result<bool, HashError> {
        match stored.0 {
            Kind::Lane(stored) => {
                let queue = &self.queue;
                queue
                    .verify(password, stored, class, client, deadline)
                    .await
            }
            Kind::Alone(stored) => {
                let alone = &self.alone;
                alone
                    .verify(password, stored, class, client, deadline)
                    .await
            }
        }
    }

    fn admits(
        &self,
        class: Class,
        client: Option<Network>,
        deadline: Instant,
    ) -> Result<(), HashError> {
        self.queue.admits(class, client, deadline)
    }

    fn has_free_lane(&self) -> bool {
        self.queue.has_free_lane()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::{Condvar, Mutex, PoisonError};

    use base64::Engine as _;
    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use secrecy::SecretString;

    use super::*;
    use crate::config::HashShares;
    use crate::domain::Password;
    use crate::hashing::bcrypt_sha256;
    use crate::hashing::class_queue::Load;
    use crate::hashing::profile::Profile;
    use crate::hashing::queue::{PATIENCE, PROBE_AFTER};

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

    const SHARES: HashShares = HashShares {
        known: 3,
        login: 2,
        signup: 2,
        account: 1,
    };

    /// One hash at a time in each thread, at the lowest cost.
    const ONE_LANE: Settings = Settings {
        cost: 4,
        threads: 1,
        lanes: 1,
        queue: 10,
        shares: SHARES,
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

    /// A hash that no password matches, of bcrypt.
    fn dummy(cost: u32, salt: [u8; 16]) -> StoredHash {
        StoredHash::dummy(Profile::Bcrypt { cost }, salt)
    }

    fn far() -> Instant {
        Instant::now() + 10 * LIMIT
    }

    /// Requests a hash that has to wait.
    fn waiting(pool: &Pool) -> Hashing<'_> {
        let mut hashing = pool.hash(password(), Class::Signup, None, far());
        assert!(
            (&mut hashing).now_or_never().is_none(),
            "completed immediately"
        );
        hashing
    }

    /// Requests a hash that completes immediately.
    fn at_once(pool: &Pool, deadline: Instant) -> Result<PasswordHash, HashError> {
        pool.hash(password(), Class::Signup, None, deadline)
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
            pool.hash(password(), Class::Signup, None, deadline())
                .await
                .expect("a probe");
            probes += 1;
        }
        assert!((1..=2).contains(&probes), "{probes}");
        pool.hash(password(), Class::Signup, None, deadline())
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
        let mut hashing = pool.hash(password(), Class::Signup, Some(network), deadline);
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
        assert!(pool.admits(Class::Signup, Some(crowd), far()).is_err());
        assert_eq!(pool.admits(Class::Signup, Some(newcomer), far()), Ok(()));
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
            pool.admits(Class::Signup, Some(newcomer), Instant::now() + hour * 5),
            Ok(())
        );
        let retry_after = hour * 51;
        let refused = pool.admits(Class::Signup, Some(crowd), Instant::now() + hour * 5);
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
        let mut late = pool.hash(password(), Class::Signup, None, Instant::now() + hour);
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
        let refused = pool.hash(guessable, Class::Signup, None, far()).await;
        assert!(
            matches!(&refused, Err(HashError::Guessable(rule)) if rule.code == "too_guessable")
        );
        assert_eq!(gate.asked().len(), 0);
        gate.open();
        assert!(
            pool.hash(password(), Class::Signup, None, far())
                .await
                .is_ok()
        );
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
        let failed = pool.hash(password(), Class::Signup, None, far()).await;
        assert_eq!(failed.expect_err("it panics"), HashError::Failed);
        pool.hash(password(), Class::Signup, None, far())
            .await
            .expect("the thread still runs");
    }

    #[tokio::test]
    async fn a_dropped_pool_completes_only_what_it_has_begun() {
        let (pool, gate) = pool(1, 10);
        let asking = Pool {
            queue: Arc::clone(&pool.queue),
            alone: Arc::clone(&pool.alone),
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
        // A thread that the machine does not run for so long loses its turn to the other: begin again.
        assert!((0..20).any(|_| work_spreads()));
    }

    /// Whether each password began before any thread may take it.
    fn work_spreads() -> bool {
        let (pool, gate) = gated(Settings {
            cost: LONG,
            threads: 2,
            lanes: 8,
            ..ONE_LANE
        });
        gate.open();
        for count in 1..=6 {
            let begun = Instant::now();
            let hashing = waiting(&pool);
            gate.wait_for(count);
            // Never dropped: it is in progress until the test ends.
            std::mem::forget(hashing);
            if begun.elapsed() > PATIENCE {
                return false;
            }
            let in_use = pool.queue.lock().in_use.clone();
            assert!(in_use[0].abs_diff(in_use[1]) <= 1, "{in_use:?}");
            assert_eq!(in_use[0] + in_use[1], count);
        }
        true
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
            .hash(
                password(),
                Class::Signup,
                None,
                Instant::now() + LIMIT / 300,
            )
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
            let hash = pool
                .hash(password(), Class::Signup, None, far())
                .await
                .expect("a hash");
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
        let hashes =
            join_all((0..60).map(|_| pool.hash(password(), Class::Signup, None, far()))).await;
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

    type Verifying<'a> = Pin<Box<dyn Future<Output = Result<bool, HashError>> + Send + 'a>>;

    fn presented(text: &str) -> PresentedPassword {
        PresentedPassword::parse(SecretString::from(text)).expect("accepted")
    }

    /// The hash of [`PASSWORD`] at a cost.
    fn stored(cost: u32) -> StoredHash {
        let hash = bcrypt_sha256::hash(&estimated(), cost, [9; 16]);
        StoredHash::parse(hash.as_str()).expect("valid")
    }

    /// Beyond any estimate that a test sets.
    fn very_far() -> Instant {
        Instant::now() + Duration::from_hours(1000)
    }

    /// Requests the verification of [`PASSWORD`], which has to wait.
    fn verifying(
        pool: &Pool,
        stored: StoredHash,
        class: Class,
        client: Option<Network>,
    ) -> Verifying<'_> {
        let mut verifying = pool.verify(presented(PASSWORD), stored, class, client, very_far());
        assert!(
            (&mut verifying).now_or_never().is_none(),
            "completed immediately"
        );
        verifying
    }

    /// Requests a hash in a class, which has to wait.
    fn hashing_as(pool: &Pool, class: Class, client: Network) -> Hashing<'_> {
        let mut hashing = pool.hash(password(), class, Some(client), very_far());
        assert!(
            (&mut hashing).now_or_never().is_none(),
            "completed immediately"
        );
        hashing
    }

    /// When a hash was begun: the number of its salt at the [`Gate`].
    fn turn(hash: &Result<PasswordHash, HashError>) -> u8 {
        let hash = hash.as_ref().expect("a hash").as_str();
        let salts = (1..=u8::MAX).map(|number| (number, bcrypt::BASE_64.encode([number; 16])));
        let found = salts.into_iter().find(|(_, salt)| hash.contains(salt));
        found.expect("a salt of the gate").0
    }

    /// A pool without threads: what waits is taken by the test.
    fn idle(settings: Settings) -> Pool {
        let metrics = Metrics::new().expect("names that differ");
        let engine = Engine::Lanes(settings.lanes);
        let alone = Alone::start(metrics.clone(), settings.nice).expect("a thread");
        let queue = HashQueue::new(engine, settings, Arc::new(Gate::default()), metrics);
        Pool {
            queue: Arc::new(queue),
            alone,
        }
    }

    /// Waits until this many lanes are in use.
    async fn lanes_in_use(pool: &Pool, count: usize) {
        let begun = Instant::now();
        while pool.queue.lock().queue.held().jobs != count {
            assert!(begun.elapsed() < LIMIT, "{count} lanes were never in use");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_password_is_verified_by_what_was_hashed() {
        let (pool, gate) = pool(1, 10);
        gate.open();
        let hash = pool.hash(password(), Class::Signup, None, far()).await;
        let made = StoredHash::parse(hash.expect("a hash").as_str()).expect("valid");
        for class in Class::ALL {
            for (text, stored, expected) in [
                (PASSWORD, made.clone(), true),
                (PASSWORD, stored(4), true),
                (PASSWORD, stored(7), true),
                ("correct horse battery stapl", made.clone(), false),
                (PASSWORD, dummy(4, [1; 16]), false),
            ] {
                let verdict = pool.verify(presented(text), stored, class, None, far());
                assert_eq!(verdict.await, Ok(expected), "{text}");
            }
        }
        assert_eq!(gate.asked().len(), 1, "a verification needs no salt");
    }

    #[tokio::test]
    async fn no_rule_for_new_passwords_applies_to_a_verification() {
        let (pool, _gate) = pool(1, 10);
        let text =
            "$bcrypt-sha256$v=2,t=2b,r=4$C/CQCvOTDfaWEPmZF/ycFu$2o1HbdLWkm2t6WR9R0B1Xeh2Prg8aJG";
        let common = StoredHash::parse(text).expect("valid");
        let verdict = pool.verify(presented("password"), common, Class::Login, None, far());
        assert_eq!(verdict.await, Ok(true));
    }

    #[tokio::test]
    async fn a_dummy_takes_a_lane_and_the_same_work() {
        let settings = Settings {
            cost: 5,
            ..ONE_LANE
        };
        let (pool, _gate) = gated(settings);
        for cost in [LONG, LONG - 1] {
            let dummy = dummy(cost, [1; 16]);
            let real = StoredHash::parse(&format!(
                "$bcrypt-sha256$v=2,t=2b,r={cost}$C/CQCvOTDfaWEPmZF/ycFu$2o1HbdLWkm2t6WR9R0B1Xeh2Prg8aJG"
            ));
            for stored in [dummy, real.expect("valid")] {
                let verifying = verifying(&pool, stored, Class::Login, None);
                lanes_in_use(&pool, 1).await;
                assert_eq!(pool.queue.lock().queue.held().work, 1 << cost);
                drop(verifying);
                lanes_in_use(&pool, 0).await;
            }
        }
    }

    #[tokio::test]
    async fn verdicts_are_right_among_hashes_in_full_lanes() {
        let (pool, gate) = gated(Settings {
            cost: 5,
            threads: 2,
            lanes: 8,
            queue: 300,
            ..ONE_LANE
        });
        gate.open();
        let cases = (0..160_u8).map(|number| {
            let cost = 4 + u32::from(number % 3);
            let (text, stored, expected) = match number % 4 {
                0 => ("correct horse battery", stored(cost), false),
                1 => (PASSWORD, dummy(cost, [number; 16]), false),
                _ => (PASSWORD, stored(cost), true),
            };
            let class = Class::ALL[usize::from(number / 4 % 4)];
            let client = Some(network(number));
            let verdict = pool.verify(presented(text), stored, class, client, far());
            async move { assert_eq!(verdict.await, Ok(expected), "{number}") }
        });
        let verdicts: Vec<_> = cases.collect();
        let hashes = (0..60).map(|_| pool.hash(password(), Class::Signup, None, far()));
        let (_, hashes) = tokio::join!(join_all(verdicts), join_all(hashes));
        for hash in hashes {
            let salt = [turn(&hash); 16];
            let expected = bcrypt_sha256::hash(&estimated(), 5, salt);
            assert_eq!(hash.expect("a hash").as_str(), expected.as_str());
        }
        assert_eq!(pool.queue.lock().queue.held(), Load::default());
    }

    #[tokio::test]
    async fn without_lanes_the_verdicts_are_those_of_the_crate() {
        let metrics = Metrics::new().expect("names that differ");
        let gate = Arc::new(Gate::default());
        let pool = Pool::start_with(Engine::OneByOne, ONE_LANE, gate, metrics);
        let pool = pool.expect("threads");
        for (text, stored, expected) in [
            (PASSWORD, stored(4), true),
            (PASSWORD, stored(6), true),
            ("another password", stored(4), false),
            (PASSWORD, dummy(4, [1; 16]), false),
        ] {
            let verdict = pool.verify(presented(text), stored, Class::Login, None, far());
            assert_eq!(verdict.await, Ok(expected), "{text}");
        }
    }

    #[tokio::test]
    async fn a_flood_of_logins_leaves_signups_their_share() {
        let (pool, gate) = pool(1, 200);
        let first = waiting(&pool);
        gate.wait_for(1);
        let logins = (0..100).map(|number| hashing_as(&pool, Class::Login, network(number)));
        let logins: Vec<Hashing<'_>> = logins.collect();
        let signups = (0..20).map(|number| hashing_as(&pool, Class::Signup, network(number)));
        let signups: Vec<Hashing<'_>> = signups.collect();
        gate.open();
        let (first, logins, signups) = tokio::join!(first, join_all(logins), join_all(signups));
        assert!(first.is_ok() && logins.iter().all(Result::is_ok));
        // Both have the same weight: of any forty turns until they are done, they have twenty.
        let turns: Vec<u8> = signups.iter().map(turn).collect();
        for (before, turn) in (0_u8..).zip(&turns) {
            assert!(turn.abs_diff(2 * before + 2) <= 2, "{turns:?}");
        }
    }

    #[tokio::test]
    async fn known_devices_go_before_waiting_logins() {
        let (pool, gate) = pool(1, 100);
        let first = waiting(&pool);
        gate.wait_for(1);
        let logins = (0..20).map(|number| hashing_as(&pool, Class::Login, network(number)));
        let logins: Vec<Hashing<'_>> = logins.collect();
        let known = hashing_as(&pool, Class::Known, network(1));
        gate.open();
        let (first, logins, known) = tokio::join!(first, join_all(logins), known);
        assert!(first.is_ok());
        assert_eq!(turn(&known), 2);
        assert!(logins.iter().all(|login| turn(login) > 2));
    }

    #[tokio::test]
    async fn logins_alone_use_all_lanes() {
        let (pool, _gate) = gated(Settings {
            cost: LONG,
            lanes: 8,
            ..ONE_LANE
        });
        let dummy = || dummy(LONG, [1; 16]);
        let logins = (0..8).map(|_| verifying(&pool, dummy(), Class::Login, None));
        let logins: Vec<Verifying<'_>> = logins.collect();
        lanes_in_use(&pool, 8).await;
        drop(logins);
    }

    #[tokio::test]
    async fn the_ninth_waiting_login_of_a_network_is_refused() {
        let hour = Duration::from_hours(1);
        for class in [Class::Known, Class::Login] {
            let (pool, gate) = pool(1, 100);
            let (crowd, other) = (Some(network(1)), Some(network(2)));
            let first = waiting(&pool);
            gate.wait_for(1);
            let logins = (0..8).map(|_| verifying(&pool, stored(4), class, crowd));
            let mut logins: Vec<Verifying<'_>> = logins.collect();
            set_hash(&pool, hour);
            let ninth = pool.verify(presented(PASSWORD), stored(4), class, crowd, very_far());
            let busy = Err(HashError::NetworkBusy {
                retry_after: hour * 9,
            });
            assert_eq!(ninth.now_or_never().expect("immediate"), busy);
            let admitted = pool.admits(class, crowd, very_far());
            assert_eq!(admitted.map(|()| true), busy);

            // Neither other networks nor other work of this one.
            logins.push(verifying(&pool, stored(4), class, other));
            for class in [Class::Signup, Class::Account] {
                assert_eq!(pool.admits(class, crowd, very_far()), Ok(()));
            }
            // Nor a client that has left.
            drop(logins.remove(0));
            logins.push(verifying(&pool, stored(4), class, crowd));

            set_hash(&pool, Duration::ZERO);
            gate.open();
            assert!(first.await.is_ok());
            let verdicts = join_all(logins).await;
            assert!(verdicts.iter().all(|verdict| *verdict == Ok(true)));
        }
    }

    #[tokio::test]
    async fn a_login_gives_up_its_place_to_a_class_below_its_share() {
        let pool = idle(Settings {
            queue: 4,
            ..ONE_LANE
        });
        let login = |last| verifying(&pool, stored(4), Class::Login, Some(network(last)));
        let mut logins: Vec<Verifying<'_>> = (1..=4).map(login).collect();
        assert!(matches!(
            pool.admits(Class::Login, Some(network(5)), far()),
            Err(HashError::Overloaded { .. })
        ));
        let known = verifying(&pool, stored(4), Class::Known, None);
        let newest = logins.pop().expect("four").now_or_never();
        assert!(matches!(newest, Some(Err(HashError::Overloaded { .. }))));
        pool.queue.close();
        logins.push(known);
        for stopped in join_all(logins).await {
            assert_eq!(stopped, Err(HashError::Stopped));
        }
    }

    #[tokio::test]
    async fn estimates_are_scaled_to_the_cost_of_the_stored_hash() {
        let pool = idle(ONE_LANE);
        let hour = Duration::from_hours(1);
        set_hash(&pool, hour);
        let verify = |cost, deadline| {
            let stored = dummy(cost, [1; 16]);
            pool.verify(presented(PASSWORD), stored, Class::Login, None, deadline)
        };
        let is_admitted = |cost, hours: u32| {
            let outcome = verify(cost, Instant::now() + hour * hours).now_or_never();
            outcome.is_none()
        };
        // With the margin of a quarter.
        assert!(is_admitted(4, 2) && !is_admitted(4, 1));
        assert!(is_admitted(5, 3) && !is_admitted(5, 2));
        assert!(is_admitted(8, 21) && !is_admitted(8, 19));

        // What waits and what is in progress counts by its work. No one waits here for the lane.
        let waiting = verifying(&pool, dummy(6, [1; 16]), Class::Login, None);
        let mut jobs = pool.queue.take(0, 0).expect("open");
        let (_job, held) = jobs.pop().expect("one");
        let wait = |class| pool.queue.lock().wait_for_a_lane(1, class, None, 1 << 4);
        assert_eq!(wait(Class::Login), hour * 4);
        let _second = verifying(&pool, dummy(5, [1; 16]), Class::Login, None);
        assert_eq!(wait(Class::Login), hour * 6);
        assert_eq!(wait(Class::Signup), hour * 6);

        // And what was measured is that of a hash at the configured cost.
        pool.queue.ended(0, &held, Some(hour * 4));
        assert_eq!(pool.queue.one_hash(), hour);
        pool.queue.lock().in_use[0] = 1;
        pool.queue.ended(0, &held, Some(hour * 2));
        assert_eq!(pool.queue.one_hash(), hour * 3 / 4);
        drop((held, waiting));
    }

    #[tokio::test]
    async fn an_estimate_counts_the_share_of_each_class() {
        let pool = idle(Settings {
            queue: 100,
            ..ONE_LANE
        });
        let logins = (0..30).map(|last| hashing_as(&pool, Class::Login, network(last)));
        let _logins: Vec<Hashing<'_>> = logins.collect();
        let hour = Duration::from_hours(1);
        set_hash(&pool, hour);
        let in_hours = |hours| Instant::now() + hour * hours;
        // One login may go before each of the others, and two before the one of the least weight.
        for (class, hours) in [(Class::Known, 3), (Class::Signup, 3), (Class::Account, 5)] {
            assert_eq!(
                pool.admits(class, None, in_hours(hours)),
                Ok(()),
                "{class:?}"
            );
        }
        assert_eq!(
            pool.admits(Class::Account, None, in_hours(3)),
            Err(HashError::Overloaded {
                retry_after: hour * 2
            })
        );
        assert_eq!(
            pool.admits(Class::Login, None, in_hours(30)),
            Err(HashError::Overloaded {
                retry_after: hour * 30
            })
        );
    }

    #[tokio::test]
    async fn a_hash_of_far_more_work_does_not_probe_the_estimate() {
        let pool = idle(ONE_LANE);
        set_hash(&pool, 2 * LIMIT);
        let long_ago = Instant::now().checked_sub(PROBE_AFTER);
        pool.queue.lock().measured = long_ago.expect("the machine is up that long");
        let ask = |cost| {
            let stored = dummy(cost, [1; 16]);
            let deadline = Instant::now() + LIMIT;
            let verify = pool.verify(presented(PASSWORD), stored, Class::Login, None, deadline);
            verify.now_or_never()
        };
        for cost in [9, 12, 31] {
            assert!(matches!(ask(cost), Some(Err(HashError::Overloaded { .. }))));
        }
        assert_eq!(ask(8), None);
    }

    #[tokio::test]
    async fn a_verification_whose_client_disconnected_is_abandoned() {
        let (pool, gate) = gated(Settings {
            cost: LONG,
            ..ONE_LANE
        });
        gate.open();
        let leaver = verifying(&pool, dummy(LONG, [1; 16]), Class::Login, None);
        lanes_in_use(&pool, 1).await;
        let begun = Instant::now();
        drop(leaver);
        let next = waiting(&pool);
        gate.wait_for(1);
        let one_hash = pool.queue.lock().one_hash;
        assert!(
            begun.elapsed() < one_hash / 2,
            "{:?} of {one_hash:?}",
            begun.elapsed()
        );
        drop(next);
    }

    #[tokio::test]
    async fn a_verification_whose_deadline_passes_is_refused_then_and_abandoned() {
        let (pool, gate) = gated(ONE_LANE);
        gate.open();
        set_hash(&pool, Duration::ZERO);
        // Days of work.
        let dummy = dummy(31, [1; 16]);
        let deadline = Instant::now() + LIMIT / 300;
        let refused = pool.verify(presented(PASSWORD), dummy, Class::Login, None, deadline);
        assert!(matches!(refused.await, Err(HashError::Overloaded { .. })));
        let next = pool.hash(password(), Class::Signup, None, far());
        assert!(next.await.is_ok());
    }

    #[tokio::test]
    async fn a_panic_beside_a_verification_leaves_it_alone() {
        struct Broken;
        impl Randomness for Broken {
            fn bytes(&self) -> [u8; 16] {
                panic!("no randomness")
            }
        }
        let settings = Settings {
            lanes: 2,
            ..ONE_LANE
        };
        let pool = start(settings, Arc::new(Broken));
        let verifying = verifying(&pool, stored(12), Class::Login, None);
        lanes_in_use(&pool, 1).await;
        let failed = pool.hash(password(), Class::Signup, None, far()).await;
        assert_eq!(failed, Err(HashError::Failed));
        assert_eq!(verifying.await, Ok(true));
        lanes_in_use(&pool, 0).await;
    }

    #[tokio::test]
    async fn waits_are_measured_by_class() {
        let metrics = Metrics::new().expect("names that differ");
        let pool = Pool::start(ONE_LANE, Arc::new(Gate::default()), metrics.clone());
        let pool = pool.expect("threads");
        let count = |class: Class| {
            let text = metrics.encode().expect("text");
            let name = format!("hash_wait_seconds_count{{class=\"{}\"}} ", class.label());
            let line = text.lines().find_map(|line| line.strip_prefix(&name));
            line.expect("a series from the start").to_owned()
        };
        for class in Class::ALL {
            assert_eq!(count(class), "0");
        }
        let verdict = pool.verify(presented(PASSWORD), stored(4), Class::Known, None, far());
        assert_eq!(verdict.await, Ok(true));
        let counts = Class::ALL.map(count);
        assert_eq!(counts, ["1", "0", "0", "0"]);
        let text = metrics.encode().expect("text");
        let whole = text
            .lines()
            .find(|it| it.starts_with("password_hash_wait_seconds_count "));
        assert_eq!(whole, Some("password_hash_wait_seconds_count 1"));
        assert_eq!(text.matches("hash_wait_seconds_count{").count(), 4);
    }
}
