//! The queue of passwords for the hashing threads, and the hashes that these have in progress.
//!
//! Callers submit [`Job`]s; a thread takes its share of them and reports when each has ended.
//! Admission is decided here: by fair shares ([`ClassQueue`]), and by an estimate of whether a hash
//! would end in time. Durations are kept for a hash at the configured cost, and scaled for those of
//! stored hashes with another one: each step of the cost doubles the work.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use secrecy::SecretString;
use tokio::sync::oneshot;
use tracing::Span;

use super::HashError;
use super::bcrypt_hash::BcryptHash;
use super::bcrypt_sha256;
use super::class::{Class, NETWORK_PLACES};
use super::class_queue::{Admission, ClassQueue, Hold};
use crate::config::HashingSettings as Settings;
use crate::domain::{Candidate, Password, PasswordHash, PresentedPassword};
use crate::platform::client::Network;
use crate::platform::clock::{self, Randomness};
use crate::platform::limits::{Bound, Limit};
use crate::platform::metrics::{HashRefused, Metrics};
use crate::platform::telemetry::spans;

/// The status of spans of passwords that no caller waited for any more.
pub const ABANDONED: &str = "abandoned";

/// How a thread hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Up to this many together.
    Lanes(usize),
    /// With the crate `bcrypt`, one at a time.
    OneByOne,
}

impl Engine {
    /// Hashes that a thread has in progress at a time.
    pub const fn lanes(self) -> usize {
        match self {
            Self::Lanes(lanes) => lanes,
            Self::OneByOne => 1,
        }
    }
}

/// How long an estimate that admits no password is trusted.
pub(super) const PROBE_AFTER: Duration = Duration::from_secs(5);

/// How long a password waits before any thread with a free lane takes it.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);

/// A password corrects an estimate that refuses everything if its hash is at most this many times
/// the work of a new one. The hash of a far higher cost would hold a lane for hours, although no
/// caller waits for it.
const PROBE_WORK: u64 = 16;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    Limit {
        what: "Passwords that wait for a lane",
        bound: Bound::Setting("BCRYPT_QUEUE"),
        effect: "503 `overloaded`",
    },
    Limit {
        what: "Share of a client network while others wait",
        bound: Bound::Words("a quarter of lanes and places"),
        effect: "503 `overloaded`",
    },
    Limit {
        what: "Share of a class of work while others wait",
        bound: Bound::Setting("HASH_SHARES"),
        effect: "503 `overloaded`",
    },
    Limit {
        what: "Logins of a client network that wait for a lane; as many from known devices",
        bound: Bound::Count(NETWORK_PLACES),
        effect: "429 `rate-limited`",
    },
    Limit {
        what: "Hash of a password",
        bound: Bound::Words("4/5 of `REQUEST_TIMEOUT_MS`"),
        effect: "503 `overloaded`",
    },
];

/// The state shared by the hashing threads and their callers.
pub struct HashQueue {
    pub(super) settings: Settings,
    pub(super) engine: Engine,
    pub(super) randomness: Arc<dyn Randomness>,
    pub(super) metrics: Metrics,
    state: Mutex<State>,
    wake: Condvar,
}

/// The network that shares are counted by. Clients without one count as one client.
type Client = Option<Network>;

pub(super) struct State {
    pub(super) queue: ClassQueue<Client, Job>,
    /// Lanes in use, for each thread.
    pub(super) in_use: Vec<usize>,
    closed: bool,
    /// The work of a hash at the configured cost.
    unit: u64,
    /// The duration of one hash at the configured cost: a moving average.
    pub(super) one_hash: Duration,
    /// The same if all lanes of its thread are in use, which makes each hash take longer.
    pub(super) full_hash: Duration,
    /// When it was last measured.
    pub(super) measured: Instant,
}

/// Why a password is not accepted.
enum Refusal {
    Stopped,
    /// With the time after which there should be room again.
    Overloaded(HashRefused, Duration),
    /// The same.
    NetworkBusy(Duration),
}

impl From<Refusal> for HashError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Stopped => Self::Stopped,
            Refusal::Overloaded(_, retry_after) => Self::Overloaded { retry_after },
            Refusal::NetworkBusy(retry_after) => Self::NetworkBusy { retry_after },
        }
    }
}

/// Where to send an outcome.
pub(super) type Reply<T> = oneshot::Sender<Result<T, HashError>>;

/// What to do with a password.
pub(super) enum Task {
    /// Estimate whether it is guessable and, if not, hash it.
    Hash(Candidate, Reply<PasswordHash>),
    /// Verify it.
    Verify(PresentedPassword, BcryptHash, Reply<bool>),
}

/// A password to be hashed or verified.
pub(super) struct Job {
    pub(super) task: Task,
    pub(super) order: Order,
    /// Iterations of its hash.
    work: u64,
    /// Ends when a lane takes the password.
    wait: Span,
    submitted: Instant,
}

/// The request of a caller, whatever it is for.
pub(super) struct Order {
    /// The span of the request.
    pub(super) span: Span,
    pub(super) deadline: Instant,
    /// Whether it is hashed to correct the estimate. It then completes even if no caller waits for
    /// it: disconnecting clients would keep a wrong estimate alive.
    is_probe: bool,
}

impl Task {
    fn has_left(&self) -> bool {
        match self {
            Self::Hash(_, reply) => reply.is_closed(),
            Self::Verify(.., reply) => reply.is_closed(),
        }
    }

    /// Reports that it was not done, if a caller still waits.
    fn fail(self, error: HashError) {
        match self {
            Self::Hash(_, reply) => drop(reply.send(Err(error))),
            Self::Verify(.., reply) => drop(reply.send(Err(error))),
        }
    }
}

impl Job {
    /// Reports that it will not be hashed now.
    fn refuse(self, retry_after: Duration) {
        spans::fail(&self.wait, "refused");
        self.task.fail(HashError::Overloaded { retry_after });
    }

    fn is_wanted(&self) -> bool {
        self.order.is_wanted(self.task.has_left())
    }
}

impl Order {
    /// Whether the hash is still wanted, if its caller has or has not left.
    pub(super) fn is_wanted(&self, has_left: bool) -> bool {
        self.is_probe || (!has_left && clock::monotonic() < self.deadline)
    }
}

/// A lane in use. When dropped, it is free for others, and no longer part of the shares of its class
/// and network.
pub(super) struct Held<'a> {
    shared: &'a HashQueue,
    hold: Hold<Client>,
    /// Iterations that were not done, as no caller waited for them any more.
    pub(super) undone: u64,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.queue.release(self.hold, self.undone);
    }
}

impl HashQueue {
    /// An empty queue. Estimates the duration of a hash, which takes some milliseconds.
    pub fn new(
        engine: Engine,
        settings: Settings,
        randomness: Arc<dyn Randomness>,
        metrics: Metrics,
    ) -> Self {
        let lanes = settings.threads * engine.lanes();
        Self {
            settings,
            engine,
            state: Mutex::new(State {
                queue: ClassQueue::new(settings.queue, lanes, settings.shares),
                in_use: vec![0; settings.threads],
                closed: false,
                unit: work(settings.cost),
                one_hash: estimate(settings.cost, 1),
                full_hash: estimate(settings.cost, engine.lanes()),
                measured: clock::monotonic(),
            }),
            wake: Condvar::new(),
            randomness,
            metrics,
        }
    }

    /// Stops handing out jobs; threads with no hash in progress end.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.queue.retain(|_| false);
        drop(state);
        self.wake.notify_all();
    }

    /// Waits for the hash of a password, up to its deadline.
    pub async fn hash(
        &self,
        password: Candidate,
        class: Class,
        client: Client,
        deadline: Instant,
    ) -> Result<PasswordHash, HashError> {
        let task = |reply| Task::Hash(password, reply);
        self.ask(task, self.settings.cost, class, client, deadline)
            .await
    }

    /// Waits for the verdict on a password, up to its deadline.
    pub async fn verify(
        &self,
        password: PresentedPassword,
        stored: BcryptHash,
        class: Class,
        client: Client,
        deadline: Instant,
    ) -> Result<bool, HashError> {
        let cost = stored.cost();
        let task = |reply| Task::Verify(password, stored, reply);
        self.ask(task, cost, class, client, deadline).await
    }

    async fn ask<T>(
        &self,
        task: impl FnOnce(Reply<T>) -> Task,
        cost: u32,
        class: Class,
        client: Client,
        deadline: Instant,
    ) -> Result<T, HashError> {
        let (reply, outcome) = oneshot::channel();
        let span = Span::current();
        let job = Job {
            task: task(reply),
            wait: spans::child(&span, "hash wait"),
            order: Order {
                span,
                deadline,
                is_probe: false,
            },
            work: work(cost),
            submitted: clock::monotonic(),
        };
        self.submit(class, client, job)?;
        // No longer than the deadline: nothing is hashed for a caller that has stopped waiting.
        if let Ok(Ok(outcome)) = tokio::time::timeout_at(deadline.into(), outcome).await {
            return outcome;
        }
        let state = self.lock();
        if state.closed {
            return Err(HashError::Stopped);
        }
        self.metrics.hash_refused(HashRefused::Deadline);
        Err(HashError::Overloaded {
            retry_after: state.wait_for_a_lane(self.slots(), class, client, work(cost)),
        })
    }

    /// Whether a new password would be accepted.
    pub fn admits(&self, class: Class, client: Client, deadline: Instant) -> Result<(), HashError> {
        let mut state = self.lock();
        let unit = state.unit;
        let refusal = self.refusal(&mut state, class, client, unit, deadline);
        refusal.map_or(Ok(()), |refusal| Err(refusal.into()))
    }

    /// The expected duration of one hash on an idle pool.
    pub fn one_hash(&self) -> Duration {
        self.lock().one_hash
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while hashing cannot leave the state inconsistent: the lock is not held then.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a lane is free that no password waits for.
    pub fn has_free_lane(&self) -> bool {
        let state = self.lock();
        state.queue.is_empty() && state.in_use.iter().sum::<usize>() < self.slots()
    }

    /// The maximum of hashes in progress.
    pub fn slots(&self) -> usize {
        self.settings.threads * self.engine.lanes()
    }

    fn submit(&self, class: Class, client: Client, mut job: Job) -> Result<(), HashError> {
        let mut state = self.lock();
        let (work, deadline) = (job.work, job.order.deadline);
        if let Some(refusal) = self.refusal(&mut state, class, client, work, deadline) {
            drop(state);
            match refusal {
                Refusal::Stopped => {}
                Refusal::Overloaded(reason, _) => self.metrics.hash_refused(reason),
                Refusal::NetworkBusy(_) => self.metrics.hash_refused(HashRefused::Share),
            }
            return Err(refusal.into());
        }
        if !state.is_in_time(self.slots(), class, client, work, deadline) {
            // The only one for a while.
            state.measured = clock::monotonic();
            job.order.is_probe = true;
        }
        let displaced = state.queue.push(class, client, work, job);
        self.metrics.hashes_waiting(state.queue.len());
        if let Ok(Some((class, client, job))) = displaced {
            let retry_after = state.wait_for_a_lane(self.slots(), class, client, job.work);
            drop(state);
            self.metrics.hash_refused(HashRefused::Share);
            job.refuse(retry_after);
        } else {
            drop(state);
        }
        self.wake.notify_one();
        Ok(())
    }

    /// Why a new password would not be accepted.
    fn refusal(
        &self,
        state: &mut State,
        class: Class,
        client: Client,
        work: u64,
        deadline: Instant,
    ) -> Option<Refusal> {
        if state.closed {
            return Some(Refusal::Stopped);
        }
        // Disconnected clients must not keep out others.
        self.drop_unwanted(state);
        let reason = match state.queue.place(class, client) {
            Admission::NetworkFull => None,
            Admission::ShareUsed => Some(HashRefused::Share),
            Admission::Full => Some(HashRefused::QueueFull),
            Admission::Free | Admission::Instead(..) => {
                if state.is_in_time(self.slots(), class, client, work, deadline)
                    || state.wants_a_probe(work)
                {
                    return None;
                }
                Some(HashRefused::Deadline)
            }
        };
        let retry_after = if state.is_idle() {
            // Nothing is admitted before the next probe.
            PROBE_AFTER.saturating_sub(clock::since(state.measured))
        } else {
            state.wait_for_a_lane(self.slots(), class, client, work)
        };
        Some(reason.map_or(Refusal::NetworkBusy(retry_after), |reason| {
            Refusal::Overloaded(reason, retry_after)
        }))
    }

    /// Drops the jobs that no caller waits for any more, and those that would not end in time:
    /// hashing them would take the place of others that still can.
    fn drop_unwanted(&self, state: &mut State) {
        let mut abandoned = 0;
        let (one_hash, unit) = (state.one_hash, state.unit);
        let now = clock::monotonic();
        state.queue.retain(|job| {
            if !job.is_wanted() {
                abandoned += 1;
                spans::fail(&job.wait, ABANDONED);
                return false;
            }
            // A job dropped without a reply makes `hash` return an error.
            job.order.is_probe || now + scaled(one_hash, job.work, unit) <= job.order.deadline
        });
        self.metrics.hashes_abandoned(abandoned);
    }

    /// Hands a thread with `in_use` lanes its share of the jobs that are still wanted. A thread
    /// with no hash in progress waits for one; `None` when the pool closes.
    pub(super) fn take(&self, thread: usize, in_use: usize) -> Option<Vec<(Job, Held<'_>)>> {
        let lanes = self.engine.lanes();
        let mut jobs = Vec::new();
        let mut state = self.lock();
        state.in_use[thread] = in_use;
        loop {
            if in_use < lanes && !state.queue.is_empty() {
                self.drop_unwanted(&mut state);
            }
            while state.in_use[thread] < lanes
                && state.may_take(thread)
                && let Some((hold, mut job)) = state.queue.take()
            {
                job.wait = Span::none();
                let waited = clock::since(job.submitted);
                self.metrics.hash_waited(hold.class.label(), waited);
                state.in_use[thread] += 1;
                let held = Held {
                    shared: self,
                    hold,
                    undone: 0,
                };
                jobs.push((job, held));
            }
            self.metrics.hashes_waiting(state.queue.len());
            self.metrics.lanes_in_use(state.in_use.iter().sum());
            if in_use + jobs.len() > 0 {
                return Some(jobs);
            }
            if state.closed {
                return None;
            }
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Records that a hash of a thread has ended; and its duration, if it succeeded.
    pub(super) fn ended(&self, thread: usize, held: &Held<'_>, took: Option<Duration>) {
        let mut state = self.lock();
        let was_full = state.in_use[thread] == self.engine.lanes();
        state.in_use[thread] -= 1;
        if let Some(took) = took {
            self.metrics.hash_took(took);
            let as_configured = scaled(took, state.unit, held.hold.work);
            state.measure(as_configured, was_full);
        }
    }
}

impl State {
    /// A thread with more lanes in use than another leaves new jobs to that one; but not for long,
    /// because the other may have no core.
    fn may_take(&self, thread: usize) -> bool {
        let mine = self.in_use[thread];
        let has_waited = |job: &Job| clock::since(job.submitted) > PATIENCE;
        self.in_use.iter().all(|other| mine <= *other) || self.queue.oldest().any(has_waited)
    }

    /// Adds the duration of a hash at the configured cost to the averages.
    pub(super) fn measure(&mut self, took: Duration, was_full: bool) {
        follow(&mut self.one_hash, took);
        if was_full {
            follow(&mut self.full_hash, took);
        }
        self.measured = clock::monotonic();
    }

    /// Whether a new password would be hashed by the deadline. With a margin: one that is hashed
    /// for a while and then abandoned took the place of another that would have been in time. It is
    /// larger for the wait, during which the machine may slow down: where its cores were shared,
    /// eight lanes were seen to take half as long again from one moment to the next.
    fn is_in_time(
        &self,
        slots: usize,
        class: Class,
        client: Client,
        work: u64,
        deadline: Instant,
    ) -> bool {
        let wait = self.wait_for_a_lane(slots, class, client, work);
        let hash = if wait.is_zero() {
            self.one_hash
        } else {
            self.full_hash
        };
        let hash = scaled(hash, work, self.unit);
        clock::monotonic() + wait * 3 / 2 + hash * 5 / 4 <= deadline
    }

    /// Whether one password is to be hashed against the estimate: if the estimate refuses
    /// everything, nothing else would ever correct it.
    fn wants_a_probe(&self, work: u64) -> bool {
        let is_cheap = work <= PROBE_WORK * self.unit;
        is_cheap && self.is_idle() && clock::since(self.measured) >= PROBE_AFTER
    }

    fn is_idle(&self) -> bool {
        self.in_use.iter().all(|lanes| *lanes == 0) && self.queue.is_empty()
    }

    /// How long a new password of this class, client and work would wait for a lane.
    pub(super) fn wait_for_a_lane(
        &self,
        slots: usize,
        class: Class,
        client: Client,
        work: u64,
    ) -> Duration {
        let waiting = self.queue.ahead(class, client, work);
        let ahead = waiting.jobs + self.in_use.iter().sum::<usize>();
        if ahead < slots {
            return Duration::ZERO;
        }
        // Lanes do not end together: each ends once in the time of a hash.
        let ends = u32::try_from(ahead - slots + 1).unwrap_or(u32::MAX);
        let wait = self.full_hash * ends / u32::try_from(slots).unwrap_or(u32::MAX);
        let mean = (waiting + self.queue.held()).mean();
        scaled(wait, mean.unwrap_or(self.unit), self.unit)
    }
}

/// The work of a hash, in iterations.
const fn work(cost: u32) -> u64 {
    1 << cost
}

/// A duration for another amount of work.
fn scaled(duration: Duration, work: u64, of: u64) -> Duration {
    if work == of {
        return duration;
    }
    let nanos = duration.as_nanos() * u128::from(work) / u128::from(of);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Updates an average. A thread that was stopped in the middle of a hash must not be mistaken for a
/// slow machine: the average rises slowly and falls fast.
fn follow(average: &mut Duration, took: Duration) {
    *average = if took > *average {
        (*average * 7 + took.min(*average * 2)) / 8
    } else {
        (*average + took) / 2
    };
}

/// The duration of one hash if this many are made together, extrapolated from the fastest of some
/// cheap ones: each step of the cost doubles the work.
fn estimate(cost: u32, lanes: usize) -> Duration {
    const SAMPLE_COST: u32 = 5;
    const SAMPLES: u32 = 5;
    let password = Password::parse(SecretString::from("a sample for the clock"), &[])
        .expect("a constant that satisfies the rules");
    let sample = || {
        let begun = clock::monotonic();
        let lane = |_| bcrypt_sha256::begin(&password, SAMPLE_COST, [7; 16]);
        let mut lanes: Vec<_> = (0..lanes).map(lane).collect();
        bcrypt_lanes::advance(&mut lanes, u32::MAX);
        clock::since(begun)
    };
    let fastest = (0..SAMPLES).map(|_| sample()).min().unwrap_or_default();
    let doublings = f64::from(cost) - f64::from(SAMPLE_COST);
    fastest.mul_f64(doublings.exp2())
}
