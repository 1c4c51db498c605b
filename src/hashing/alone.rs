//! The thread that verifies foreign hashes which cannot be advanced in slices: Argon2, scrypt, PBKDF2.
//!
//! In a lane, one of them would hold up the seven others for seconds. Here they are verified one after
//! the other, so that no more than one has its memory at a time: [`MEMORY`] bytes at most, which the
//! bounds of their parameters see to. They are few: each account has such a hash until its first login.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::Span;

use super::foreign::ForeignHash;
use super::foreign::argon2::MAX_MEMORY;
use super::profile::Profile;
use super::worker::lower_priority;
use super::{Class, HashError};
use crate::domain::PresentedPassword;
use crate::platform::client::Network;
use crate::platform::clock;
use crate::platform::limits::{Bound, Limit};
use crate::platform::metrics::{HashRefused, Metrics};
use crate::platform::telemetry::spans;

/// Passwords that may wait.
const QUEUE: usize = 32;

/// The most memory that a verification takes, in bytes.
const MEMORY: usize = MAX_MEMORY as usize * 1024;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    Limit {
        what: "Passwords that wait to be verified against Argon2, scrypt or PBKDF2 of an import",
        bound: Bound::Count(QUEUE),
        effect: "503 `overloaded`",
    },
    Limit {
        what: "Memory of such a verification, in bytes; there is one at a time",
        bound: Bound::Count(MEMORY),
        effect: "such a hash is not imported, and verifies no password",
    },
];

/// The queue, shared with the thread.
pub struct Alone {
    state: Mutex<State>,
    wake: Condvar,
    metrics: Metrics,
}

struct State {
    jobs: VecDeque<Job>,
    /// What is being verified, and since when.
    running: Option<(Profile, Instant)>,
    closed: bool,
    pace: Pace,
}

struct Job {
    password: PresentedPassword,
    stored: Box<ForeignHash>,
    class: Class,
    client: Option<Network>,
    deadline: Instant,
    submitted: Instant,
    /// The span of the request.
    span: Span,
    reply: oneshot::Sender<Result<bool, HashError>>,
}

impl Job {
    fn is_wanted(&self) -> bool {
        !self.reply.is_closed() && clock::monotonic() < self.deadline
    }
}

/// Nanoseconds for a unit of work, by algorithm: moving averages. 0 until one was measured.
#[derive(Debug, Default)]
struct Pace {
    argon2: f64,
    scrypt: f64,
    pbkdf2: f64,
}

impl Pace {
    fn of(&mut self, profile: Profile) -> (&mut f64, f64) {
        let (pace, work) = match profile {
            Profile::Argon2(parameters) => (&mut self.argon2, parameters.work()),
            Profile::Scrypt(parameters) => (&mut self.scrypt, parameters.work()),
            Profile::Pbkdf2(parameters) => (&mut self.pbkdf2, parameters.work()),
            Profile::Bcrypt { .. } => (&mut self.argon2, 0),
        };
        #[expect(clippy::cast_precision_loss, reason = "bounded to some millions")]
        (pace, work as f64)
    }

    /// How long a verification should take.
    fn expected(&mut self, profile: Profile) -> Duration {
        let (pace, work) = self.of(profile);
        Duration::from_secs_f64(*pace * work / 1e9)
    }

    fn measure(&mut self, profile: Profile, took: Duration) {
        let (pace, work) = self.of(profile);
        let measured = took.as_secs_f64() * 1e9 / work.max(1.0);
        *pace = if *pace == 0.0 {
            measured
        } else {
            (*pace * 3.0 + measured) / 4.0
        };
    }
}

impl Alone {
    /// An empty queue, without a thread.
    fn new(metrics: Metrics) -> Self {
        Self {
            state: Mutex::new(State {
                jobs: VecDeque::with_capacity(QUEUE),
                running: None,
                closed: false,
                pace: Pace::default(),
            }),
            wake: Condvar::new(),
            metrics,
        }
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(metrics: Metrics, nice: i32) -> std::io::Result<Arc<Self>> {
        let this = Arc::new(Self::new(metrics));
        let shared = Arc::clone(&this);
        std::thread::Builder::new()
            .name("hashing-foreign".to_owned())
            .spawn(move || {
                lower_priority(nice);
                shared.work();
            })?;
        Ok(this)
    }

    /// Verifies no more passwords; the thread ends after the one in progress.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.jobs.clear();
        drop(state);
        self.wake.notify_all();
    }

    /// Waits for the verdict on a password, up to its deadline.
    ///
    /// # Errors
    /// When there is no room or no time for it.
    pub async fn verify(
        &self,
        password: PresentedPassword,
        stored: Box<ForeignHash>,
        class: Class,
        client: Option<Network>,
        deadline: Instant,
    ) -> Result<bool, HashError> {
        let (reply, outcome) = oneshot::channel();
        let job = Job {
            password,
            stored,
            class,
            client,
            deadline,
            submitted: clock::monotonic(),
            span: Span::current(),
            reply,
        };
        self.submit(job)?;
        if let Ok(Ok(outcome)) = tokio::time::timeout_at(deadline.into(), outcome).await {
            return outcome;
        }
        let mut state = self.lock();
        if state.closed {
            return Err(HashError::Stopped);
        }
        let retry_after = state.wait();
        drop(state);
        self.metrics.hash_refused(HashRefused::Deadline);
        Err(HashError::Overloaded { retry_after })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The lock is not held while a password is verified.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, job: Job) -> Result<(), HashError> {
        let mut state = self.lock();
        if state.closed {
            return Err(HashError::Stopped);
        }
        self.drop_unwanted(&mut state);
        let retry_after = state.wait();
        let refusal = if state.is_network_full(&job) {
            Some((HashRefused::Share, HashError::NetworkBusy { retry_after }))
        } else if state.jobs.len() >= QUEUE {
            Some((
                HashRefused::QueueFull,
                HashError::Overloaded { retry_after },
            ))
        } else if state.is_late(&job) {
            Some((HashRefused::Deadline, HashError::Overloaded { retry_after }))
        } else {
            None
        };
        if let Some((reason, error)) = refusal {
            drop(state);
            self.metrics.hash_refused(reason);
            return Err(error);
        }
        state.jobs.push_back(job);
        self.metrics.foreign_hashes_waiting(state.jobs.len());
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    fn drop_unwanted(&self, state: &mut State) {
        let before = state.jobs.len();
        state.jobs.retain(Job::is_wanted);
        self.metrics.hashes_abandoned(before - state.jobs.len());
    }

    /// Verifies until the pool closes.
    fn work(&self) {
        while let Some(job) = self.take() {
            let begun = clock::monotonic();
            let span = spans::child(&job.span, "hash");
            let verify = || job.stored.verify(job.password.expose_bytes());
            // A panic must not cost the thread.
            let outcome = catch_unwind(AssertUnwindSafe(verify));
            let outcome = outcome.ok().and_then(Result::ok);
            if outcome.is_none() {
                spans::fail(&span, "failed");
                tracing::error!("a foreign password hash was not verified: no memory, or a defect");
            }
            drop(span);
            self.ended(job.stored.profile, clock::since(begun));
            let _ = job.reply.send(outcome.ok_or(HashError::Failed));
        }
    }

    /// The next password whose caller still waits. `None` when the pool closes.
    fn take(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            self.drop_unwanted(&mut state);
            let job = state.jobs.pop_front();
            self.metrics.foreign_hashes_waiting(state.jobs.len());
            if let Some(job) = job {
                state.running = Some((job.stored.profile, clock::monotonic()));
                let waited = clock::since(job.submitted);
                self.metrics.hash_waited(job.class.label(), waited);
                return Some(job);
            }
            if state.closed {
                return None;
            }
            let woken = self.wake.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn ended(&self, profile: Profile, took: Duration) {
        self.metrics.foreign_hash_took(took);
        let mut state = self.lock();
        state.running = None;
        state.pace.measure(profile, took);
    }
}

impl State {
    /// How long a new password would wait.
    fn wait(&mut self) -> Duration {
        let Self {
            jobs,
            running,
            pace,
            ..
        } = self;
        let waiting: Duration = jobs
            .iter()
            .map(|job| pace.expected(job.stored.profile))
            .sum();
        let left = running.map_or(Duration::ZERO, |(profile, since)| {
            pace.expected(profile).saturating_sub(clock::since(since))
        });
        waiting + left
    }

    fn is_network_full(&self, job: &Job) -> bool {
        let is_same = |other: &&Job| other.client == job.client && other.class == job.class;
        let places = job.class.network_places();
        places.is_some_and(|places| self.jobs.iter().filter(is_same).count() >= places)
    }

    /// Whether it would probably miss its deadline. An idle thread takes any: that corrects an estimate
    /// that is too high.
    fn is_late(&mut self, job: &Job) -> bool {
        if self.jobs.is_empty() && self.running.is_none() {
            return false;
        }
        let expected = self.wait() + self.pace.expected(job.stored.profile);
        clock::monotonic() + expected > job.deadline
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use secrecy::SecretString;

    use super::*;
    use crate::hashing::StoredHash;
    use crate::hashing::stored::Kind;

    const LIMIT: Duration = Duration::from_secs(30);

    /// A hash that no password matches, by a pass over 64 KiB.
    fn stored() -> ForeignHash {
        let profile = Profile::of("$argon2id$v=19$m=64,t=1,p=1$").expect("valid");
        alone(StoredHash::dummy(profile, [1; 16]))
    }

    fn alone(stored: StoredHash) -> ForeignHash {
        match stored.0 {
            Kind::Alone(hash) => *hash,
            Kind::Lane(_) => panic!("it is verified in a lane"),
        }
    }

    fn password() -> PresentedPassword {
        PresentedPassword::parse(SecretString::from("password")).expect("accepted")
    }

    fn queue() -> Alone {
        Alone::new(Metrics::new().expect("names that differ"))
    }

    fn network(last: u8) -> Network {
        crate::platform::client::Client {
            address: [192, 0, 2, last].into(),
            through_trusted_proxy: false,
        }
        .network()
    }

    async fn verify(alone: &Alone, client: Option<Network>) -> Result<bool, HashError> {
        let deadline = Instant::now() + LIMIT;
        alone
            .verify(
                password(),
                Box::new(stored()),
                Class::Login,
                client,
                deadline,
            )
            .await
    }

    #[tokio::test]
    async fn its_places_are_few_and_those_of_a_network_fewer() {
        let alone = queue();
        let mut waiting = Vec::new();
        for last in 0..4 {
            for _ in 0..8 {
                let mut one = Box::pin(verify(&alone, Some(network(last))));
                assert!((&mut one).now_or_never().is_none());
                waiting.push(one);
            }
            let ninth = verify(&alone, Some(network(last))).now_or_never();
            assert!(
                matches!(ninth, Some(Err(HashError::NetworkBusy { .. }))),
                "{last}"
            );
        }
        let other = verify(&alone, Some(network(9))).now_or_never();
        assert!(matches!(other, Some(Err(HashError::Overloaded { .. }))));
        // A client that leaves takes no place.
        waiting.pop();
        let mut other = Box::pin(verify(&alone, Some(network(9))));
        assert!((&mut other).now_or_never().is_none());
        alone.close();
        assert_eq!(other.await, Err(HashError::Stopped));
        assert_eq!(verify(&alone, None).await, Err(HashError::Stopped));
    }

    #[tokio::test]
    async fn what_would_miss_its_deadline_is_refused_unless_the_thread_is_idle() {
        let alone = queue();
        let hour = Duration::from_hours(1);
        alone.lock().pace.measure(stored().profile, hour);
        let mut first = Box::pin(verify(&alone, None));
        assert!(
            (&mut first).now_or_never().is_none(),
            "an idle thread takes any"
        );
        let second = verify(&alone, None).now_or_never().expect("immediately");
        let Err(HashError::Overloaded { retry_after }) = second else {
            panic!("{second:?}");
        };
        assert!(
            retry_after.abs_diff(hour) < Duration::from_secs(1),
            "{retry_after:?}"
        );
    }

    #[tokio::test]
    async fn a_panic_or_a_defect_costs_one_verdict_and_no_thread() {
        let alone = Alone::start(Metrics::new().expect("names that differ"), 0).expect("a thread");
        let mut broken = stored();
        broken.profile = Profile::Bcrypt { cost: 4 };
        let deadline = Instant::now() + LIMIT;
        let failed = alone.verify(password(), Box::new(broken), Class::Login, None, deadline);
        assert_eq!(failed.await, Err(HashError::Failed));
        // A salt that the crate refuses.
        let mut broken = stored();
        broken.salt.clear();
        let failed = alone.verify(password(), Box::new(broken), Class::Login, None, deadline);
        assert_eq!(failed.await, Err(HashError::Failed));
        assert_eq!(verify(&alone, None).await, Ok(false));
        alone.close();
    }
}
