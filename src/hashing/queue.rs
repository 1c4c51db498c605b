//! The queue of passwords for the hashing threads, and the hashes that these have in progress.
//!
//! Callers submit [`Job`]s; a thread takes its share of them and reports when each has ended.
//! Admission is decided here: by fair shares ([`FairQueue`]), and by an estimate of whether a hash
//! would end in time.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use secrecy::SecretString;
use tokio::sync::oneshot;
use tracing::Span;

use super::fair_queue::{FairQueue, Place};
use super::{HashError, bcrypt_sha256};
use crate::config::HashingSettings as Settings;
use crate::domain::{Candidate, Password, PasswordHash};
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
const PATIENCE: Duration = Duration::from_millis(20);

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
    pub(super) queue: FairQueue<Client, Job>,
    /// Lanes in use, for each thread.
    pub(super) in_use: Vec<usize>,
    closed: bool,
    /// The duration of one hash: a moving average.
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
}

impl From<Refusal> for HashError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Stopped => Self::Stopped,
            Refusal::Overloaded(_, retry_after) => Self::Overloaded { retry_after },
        }
    }
}

/// A password to be hashed.
pub(super) struct Job {
    pub(super) password: Candidate,
    pub(super) order: Order,
    /// Ends when a lane takes the password.
    wait: Span,
    submitted: Instant,
}

/// The request for a hash: where to send it, and by when.
pub(super) struct Order {
    pub(super) reply: oneshot::Sender<Result<PasswordHash, HashError>>,
    /// The span of the request.
    pub(super) span: Span,
    pub(super) deadline: Instant,
    /// Whether it is hashed to correct the estimate. It then completes even if no caller waits for
    /// it: disconnecting clients would keep a wrong estimate alive.
    is_probe: bool,
}

impl Job {
    /// Reports that it will not be hashed now.
    fn refuse(self, retry_after: Duration) {
        spans::fail(&self.wait, "refused");
        self.order
            .complete(Err(HashError::Overloaded { retry_after }));
    }
}

impl Order {
    /// Reports the outcome, if a caller still waits.
    pub(super) fn complete(self, hash: Result<PasswordHash, HashError>) {
        let _ = self.reply.send(hash);
    }

    /// Whether the hash is still wanted.
    pub(super) fn is_wanted(&self) -> bool {
        self.is_probe || (!self.reply.is_closed() && clock::monotonic() < self.deadline)
    }
}

/// A lane in use. When dropped, it is free for others, and no longer part of its network's share.
pub(super) struct Held<'a> {
    shared: &'a HashQueue,
    client: Client,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.shared.lock().queue.release(self.client);
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
                queue: FairQueue::new(settings.queue, lanes),
                in_use: vec![0; settings.threads],
                closed: false,
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
        client: Client,
        deadline: Instant,
    ) -> Result<PasswordHash, HashError> {
        let (reply, outcome) = oneshot::channel();
        let span = Span::current();
        let job = Job {
            password,
            wait: spans::child(&span, "hash wait"),
            order: Order {
                reply,
                span,
                deadline,
                is_probe: false,
            },
            submitted: clock::monotonic(),
        };
        self.submit(client, job)?;
        // No longer than the deadline: nothing is hashed for a caller that has stopped waiting.
        if let Ok(Ok(hashed)) = tokio::time::timeout_at(deadline.into(), outcome).await {
            return hashed;
        }
        let state = self.lock();
        if state.closed {
            return Err(HashError::Stopped);
        }
        self.metrics.hash_refused(HashRefused::Deadline);
        Err(HashError::Overloaded {
            retry_after: state.wait_for_a_lane(self.slots(), client),
        })
    }

    /// Whether a new password would be accepted.
    pub fn admits(&self, client: Client, deadline: Instant) -> Result<(), HashError> {
        let mut state = self.lock();
        let refusal = self.refusal(&mut state, client, deadline);
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

    /// The maximum of hashes in progress.
    pub fn slots(&self) -> usize {
        self.settings.threads * self.engine.lanes()
    }

    fn submit(&self, client: Client, mut job: Job) -> Result<(), HashError> {
        let mut state = self.lock();
        if let Some(refusal) = self.refusal(&mut state, client, job.order.deadline) {
            drop(state);
            if let Refusal::Overloaded(reason, _) = refusal {
                self.metrics.hash_refused(reason);
            }
            return Err(refusal.into());
        }
        if !state.is_in_time(self.slots(), client, job.order.deadline) {
            // The only one for a while.
            state.measured = clock::monotonic();
            job.order.is_probe = true;
        }
        let displaced = state.queue.push(client, job);
        self.metrics.hashes_waiting(state.queue.len());
        if let Ok(Some((loser, job))) = displaced {
            let retry_after = state.wait_for_a_lane(self.slots(), loser);
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
    fn refusal(&self, state: &mut State, client: Client, deadline: Instant) -> Option<Refusal> {
        if state.closed {
            return Some(Refusal::Stopped);
        }
        // Disconnected clients must not keep out others.
        self.drop_unwanted(state);
        let reason = match state.queue.place(client) {
            Place::ShareUsed => HashRefused::Share,
            Place::Full => HashRefused::QueueFull,
            Place::Free | Place::Instead(_) => {
                if state.is_in_time(self.slots(), client, deadline) || state.wants_a_probe() {
                    return None;
                }
                HashRefused::Deadline
            }
        };
        let retry_after = if state.is_idle() {
            // Nothing is admitted before the next probe.
            PROBE_AFTER.saturating_sub(clock::since(state.measured))
        } else {
            state.wait_for_a_lane(self.slots(), client)
        };
        Some(Refusal::Overloaded(reason, retry_after))
    }

    /// Drops the jobs that no caller waits for any more, and those that would not end in time:
    /// hashing them would take the place of others that still can.
    fn drop_unwanted(&self, state: &mut State) {
        let mut abandoned = 0;
        let ends = clock::monotonic() + state.one_hash;
        state.queue.retain(|job| {
            if !job.order.is_wanted() {
                abandoned += 1;
                spans::fail(&job.wait, ABANDONED);
                return false;
            }
            // A job dropped without a reply makes `hash` return an error.
            job.order.is_probe || ends <= job.order.deadline
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
                && let Some((client, mut job)) = state.queue.take()
            {
                job.wait = Span::none();
                self.metrics.hash_waited(clock::since(job.submitted));
                state.in_use[thread] += 1;
                let held = Held {
                    shared: self,
                    client,
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
    pub(super) fn ended(&self, thread: usize, took: Option<Duration>) {
        let mut state = self.lock();
        let was_full = state.in_use[thread] == self.engine.lanes();
        state.in_use[thread] -= 1;
        if let Some(took) = took {
            self.metrics.hash_took(took);
            state.measure(took, was_full);
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

    /// Adds the duration of a hash to the averages.
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
    fn is_in_time(&self, slots: usize, client: Client, deadline: Instant) -> bool {
        let wait = self.wait_for_a_lane(slots, client);
        let hash = if wait.is_zero() {
            self.one_hash
        } else {
            self.full_hash
        };
        clock::monotonic() + wait * 3 / 2 + hash * 5 / 4 <= deadline
    }

    /// Whether one password is to be hashed against the estimate: if the estimate refuses
    /// everything, nothing else would ever correct it.
    fn wants_a_probe(&self) -> bool {
        self.is_idle() && clock::since(self.measured) >= PROBE_AFTER
    }

    fn is_idle(&self) -> bool {
        self.in_use.iter().all(|lanes| *lanes == 0) && self.queue.is_empty()
    }

    /// How long a new password of this client would wait for a lane.
    pub(super) fn wait_for_a_lane(&self, slots: usize, client: Client) -> Duration {
        let ahead = self.queue.ahead(client) + self.in_use.iter().sum::<usize>();
        if ahead < slots {
            return Duration::ZERO;
        }
        // Lanes do not end together: each ends once in the time of a hash.
        let ends = u32::try_from(ahead - slots + 1).unwrap_or(u32::MAX);
        self.full_hash * ends / u32::try_from(slots).unwrap_or(u32::MAX)
    }
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
