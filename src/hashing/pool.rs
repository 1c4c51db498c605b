//! Threads of their own that hash, with a bounded queue before them.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use secrecy::SecretString;
use tokio::sync::oneshot;

use super::{HashError, PasswordHasher, bcrypt_sha256};
use crate::domain::{Password, PasswordHash};
use crate::platform::clock::Randomness;

/// How the pool is set up.
#[derive(Debug, Clone, Copy)]
pub struct PoolSettings {
    /// The cost of bcrypt.
    pub cost: u32,
    /// Threads that hash.
    pub threads: usize,
    /// Passwords that may wait for a thread.
    pub queue: usize,
}

/// The pool. Dropped, it finishes the hashes under way and ends its threads.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    settings: PoolSettings,
    state: Mutex<State>,
    wake: Condvar,
    randomness: Arc<dyn Randomness>,
}

struct State {
    queue: VecDeque<Job>,
    busy: usize,
    closed: bool,
    /// How long one hash takes: a moving average.
    one_hash: Duration,
}

struct Job {
    password: Password,
    deadline: Instant,
    reply: oneshot::Sender<PasswordHash>,
}

impl Pool {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(settings: PoolSettings, randomness: Arc<dyn Randomness>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            settings,
            state: Mutex::new(State {
                queue: VecDeque::new(),
                busy: 0,
                closed: false,
                one_hash: estimate(settings.cost),
            }),
            wake: Condvar::new(),
            randomness,
        });
        let threads = (0..settings.threads)
            .map(|number| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("hashing-{number}"))
                    .spawn(move || shared.work())
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { shared, threads })
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.queue.clear();
        drop(state);
        self.shared.wake.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl PasswordHasher for Pool {
    async fn hash(&self, password: Password, deadline: Instant) -> Result<PasswordHash, HashError> {
        let (reply, answer) = oneshot::channel();
        self.shared.submit(Job {
            password,
            deadline,
            reply,
        })?;
        // A reply dropped unsent means that the deadline passed in the queue, or the pool closed.
        answer.await.map_err(|_| {
            let state = self.shared.lock();
            if state.closed {
                HashError::Stopped
            } else {
                HashError::Overloaded {
                    retry_after: state.wait_for_a_thread(&self.shared.settings),
                }
            }
        })
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while hashing can't leave the state half-changed: it is not held then.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, job: Job) -> Result<(), HashError> {
        let mut state = self.lock();
        if state.closed {
            return Err(HashError::Stopped);
        }
        let wait = state.wait_for_a_thread(&self.settings);
        let expected_end = Instant::now() + wait + state.one_hash;
        if state.queue.len() >= self.settings.queue || expected_end > job.deadline {
            return Err(HashError::Overloaded { retry_after: wait });
        }
        state.queue.push_back(job);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    fn work(&self) {
        while let Some(job) = self.next_job() {
            let begun = Instant::now();
            let salt = self.randomness.bytes();
            let hash = bcrypt_sha256::hash(&job.password, self.settings.cost, salt);
            // The client may be gone; then nobody wants it.
            let _ = job.reply.send(hash);
            let mut state = self.lock();
            state.busy -= 1;
            state.one_hash = (state.one_hash * 7 + begun.elapsed()) / 8;
        }
    }

    /// The next job that somebody still waits for; `None` when the pool closes.
    fn next_job(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            while let Some(job) = state.queue.pop_front() {
                if !job.reply.is_closed() && Instant::now() < job.deadline {
                    state.busy += 1;
                    return Some(job);
                }
            }
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    /// How long a password that came now would wait before a thread takes it.
    fn wait_for_a_thread(&self, settings: &PoolSettings) -> Duration {
        let ahead = self.queue.len() + self.busy;
        if ahead < settings.threads {
            return Duration::ZERO;
        }
        let rounds = (ahead - settings.threads) / settings.threads + 1;
        self.one_hash * u32::try_from(rounds).unwrap_or(u32::MAX)
    }
}

/// How long one hash takes here, from a cheap one: each step of the cost doubles the work.
fn estimate(cost: u32) -> Duration {
    const SAMPLE_COST: u32 = 5;
    let password = Password::parse(SecretString::from("a sample for the clock"), &[])
        .expect("a constant that keeps the rules");
    let begun = Instant::now();
    let _ = bcrypt_sha256::hash(&password, SAMPLE_COST, [7; 16]);
    let doublings = i32::try_from(cost).unwrap_or(31) - 5;
    begun.elapsed().mul_f64(2f64.powi(doublings))
}
