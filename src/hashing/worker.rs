//! A hashing thread: several hashes and verifications in lanes, advanced together in short slices.
//!
//! Between two slices, finished hashes leave their lanes and waiting passwords join. So no password
//! waits for the end of another hash, or for a batch to fill. The first step of a new hash is the
//! estimate of how guessable the password is: a few milliseconds that a client can control, under
//! the same admission and in the same turns as the hash. A verification has no such step.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use bcrypt_lanes::Lane;
use tracing::Span;

use super::HashError;
use super::bcrypt_hash::BcryptHash;
use super::bcrypt_sha256;
use super::queue::{ABANDONED, Engine, HashQueue, Held, Order, Reply, Task};
use crate::domain::{Password, PasswordHash, PresentedPassword};
use crate::platform::clock;
use crate::platform::telemetry::spans;

/// Iterations per slice: some 3 ms with eight lanes on a processor of 2024.
const SLICE: u32 = 32;

/// A hash or a verification in progress.
struct Running<'a> {
    work: Work,
    /// `None` if it is made in one go.
    lane: Option<Lane>,
    order: Order,
    used: Used<'a>,
}

/// What is in progress, and where to send the outcome.
enum Work {
    Hash(Password, Reply<PasswordHash>),
    Verify(PresentedPassword, BcryptHash, Reply<bool>),
}

/// The lane in use, and since when.
struct Used<'a> {
    held: Held<'a>,
    begun: Instant,
    /// Ends with the hash.
    span: Span,
}

impl Running<'_> {
    fn is_wanted(&self) -> bool {
        self.order.is_wanted(match &self.work {
            Work::Hash(_, reply) => reply.is_closed(),
            Work::Verify(.., reply) => reply.is_closed(),
        })
    }

    /// Whether it is still wanted. If not, it is about to leave its lane.
    fn stays(&mut self) -> bool {
        let stays = self.is_wanted();
        if !stays {
            spans::fail(&self.used.span, ABANDONED);
            let undone = self.lane.as_ref().map_or(0, Lane::remaining);
            self.used.held.undone = undone.into();
        }
        stays
    }
}

/// Hashes until the pool closes and all hashes in progress have ended.
pub fn work(queue: &HashQueue, thread: usize) {
    lower_priority(queue.settings.nice);
    let mut running: Vec<Running<'_>> = Vec::with_capacity(queue.engine.lanes());
    loop {
        let begun = running.len();
        running.retain_mut(Running::stays);
        queue.metrics.hashes_abandoned(begun - running.len());
        let Some(jobs) = queue.take(thread, running.len()) else {
            return;
        };
        for (job, held) in jobs {
            if let Some((work, lane)) = begin(queue, job.task) {
                let used = Used {
                    held,
                    begun: clock::monotonic(),
                    span: spans::child(&job.order.span, "hash"),
                };
                running.push(Running {
                    work,
                    lane,
                    order: job.order,
                    used,
                });
            }
        }
        queue.metrics.hash_batch(running.len());
        advance(queue, thread, &mut running);
    }
}

/// Begins a task, in a lane unless it is made in one go. `None` if it failed, which is reported.
fn begin(queue: &HashQueue, task: Task) -> Option<(Work, Option<Lane>)> {
    let has_lanes = queue.engine != Engine::OneByOne;
    match task {
        Task::Hash(password, reply) => {
            let begun = guarded(|| {
                let password = password.estimate().map_err(HashError::Guessable)?;
                let lane = has_lanes.then(|| {
                    let salt = queue.randomness.bytes();
                    bcrypt_sha256::begin(&password, queue.settings.cost, salt)
                });
                Ok((password, lane))
            });
            match begun {
                Ok((password, lane)) => Some((Work::Hash(password, reply), lane)),
                Err(error) => {
                    send(reply, Err(error));
                    None
                }
            }
        }
        Task::Verify(password, stored, reply) => {
            let lane = || stored.begin(&password);
            match guarded(|| Ok(has_lanes.then(lane))) {
                Ok(lane) => Some((Work::Verify(password, stored, reply), lane)),
                Err(error) => {
                    send(reply, Err(error));
                    None
                }
            }
        }
    }
}

/// Advances every hash by a slice, and completes those that are done.
fn advance(queue: &HashQueue, thread: usize, running: &mut Vec<Running<'_>>) {
    let lanes = running
        .iter_mut()
        .filter_map(|running| running.lane.as_mut());
    if catch_unwind(AssertUnwindSafe(|| bcrypt_lanes::advance(lanes, SLICE))).is_err() {
        for Running { work, .. } in running.drain(..) {
            match work {
                Work::Hash(_, reply) => send(reply, Err(HashError::Failed)),
                Work::Verify(.., reply) => send(reply, Err(HashError::Failed)),
            }
        }
        return;
    }
    let is_done = |running: &mut Running<'_>| running.lane.as_ref().is_none_or(Lane::is_done);
    for done in running.extract_if(.., is_done) {
        let Running {
            work, lane, used, ..
        } = done;
        match work {
            Work::Hash(password, reply) => {
                end(queue, thread, used, reply, || {
                    lane.and_then(|lane| bcrypt_sha256::finish(lane).ok())
                        .unwrap_or_else(|| {
                            let salt = queue.randomness.bytes();
                            bcrypt_sha256::hash(&password, queue.settings.cost, salt)
                        })
                });
            }
            Work::Verify(password, stored, reply) => {
                end(queue, thread, used, reply, || {
                    lane.and_then(|lane| stored.finish(lane).ok())
                        .unwrap_or_else(|| stored.verify(&password))
                });
            }
        }
    }
}

/// Frees the lane of what is done, and then reports the outcome.
fn end<T>(
    queue: &HashQueue,
    thread: usize,
    used: Used<'_>,
    reply: Reply<T>,
    outcome: impl FnOnce() -> T,
) {
    let outcome = guarded(|| Ok(outcome()));
    if outcome.is_err() {
        spans::fail(&used.span, "panic");
    }
    drop(used.span);
    let took = outcome.is_ok().then(|| clock::since(used.begun));
    queue.ended(thread, &used.held, took);
    drop(used.held);
    send(reply, outcome);
}

/// A panic must cost the pool neither a thread nor the other hashes.
fn guarded<T>(part: impl FnOnce() -> Result<T, HashError>) -> Result<T, HashError> {
    catch_unwind(AssertUnwindSafe(part)).unwrap_or(Err(HashError::Failed))
}

/// Reports the outcome, if a caller still waits.
fn send<T>(reply: Reply<T>, outcome: Result<T, HashError>) {
    let _ = reply.send(outcome);
}

/// Lowers the thread's priority below that of the threads that serve requests. A failure is
/// harmless: the threads then share the cores evenly.
#[cfg(target_os = "linux")]
pub fn lower_priority(nice: i32) {
    // On Linux, priorities are per thread: see setpriority(2), "C library/kernel differences".
    if let Err(error) = rustix::process::setpriority_process(None, nice) {
        tracing::warn!(reason = %error, "cannot lower the priority of hashing threads");
    }
}

/// Does nothing: on other systems the priority is that of the whole process.
#[cfg(not(target_os = "linux"))]
pub const fn lower_priority(_: i32) {}
