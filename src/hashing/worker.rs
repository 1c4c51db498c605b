//! A hashing thread: several hashes in lanes, advanced together in short slices.
//!
//! Between two slices, finished hashes leave their lanes and waiting passwords join. So no password
//! waits for the end of another hash, or for a batch to fill. The first step of a hash is the
//! estimate of how guessable the password is: a few milliseconds that a client can control, under
//! the same admission and in the same turns as the hash.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use bcrypt_lanes::Lane;
use tracing::Span;

use super::queue::{ABANDONED, Engine, HashQueue, Held, Job, Order};
use super::{HashError, bcrypt_sha256};
use crate::domain::{BrokenRule, Candidate, Password, PasswordHash};
use crate::platform::clock;
use crate::platform::telemetry::spans;

/// Iterations per slice: some 3 ms with eight lanes on a processor of 2024.
const SLICE: u32 = 32;

/// A hash in progress.
struct Running<'a> {
    password: Password,
    order: Order,
    held: Held<'a>,
    /// `None` if the hash is made in one go.
    lane: Option<Lane>,
    begun: Instant,
    /// Ends with the hash.
    span: Span,
}

/// Hashes until the pool closes and all hashes in progress have ended.
pub fn work(queue: &HashQueue, thread: usize) {
    lower_priority(queue.settings.nice);
    let mut running: Vec<Running<'_>> = Vec::with_capacity(queue.engine.lanes());
    loop {
        let begun = running.len();
        running.retain(|running| {
            let is_wanted = running.order.is_wanted();
            if !is_wanted {
                spans::fail(&running.span, ABANDONED);
            }
            is_wanted
        });
        queue.metrics.hashes_abandoned(begun - running.len());
        let Some(jobs) = queue.take(thread, running.len()) else {
            return;
        };
        for (
            Job {
                password, order, ..
            },
            held,
        ) in jobs
        {
            // A panic must cost the pool neither a thread nor the other hashes.
            match catch_unwind(AssertUnwindSafe(|| begin(queue, password))) {
                Ok(Ok((password, lane))) => running.push(Running {
                    span: spans::child(&order.span, "hash"),
                    password,
                    order,
                    held,
                    lane,
                    begun: clock::monotonic(),
                }),
                Ok(Err(rule)) => order.complete(Err(HashError::Guessable(rule))),
                Err(_) => order.complete(Err(HashError::Failed)),
            }
        }
        queue.metrics.hash_batch(running.len());
        advance(queue, thread, &mut running);
    }
}

fn begin(queue: &HashQueue, password: Candidate) -> Result<(Password, Option<Lane>), BrokenRule> {
    let password = password.estimate()?;
    let lane = match queue.engine {
        Engine::OneByOne => None,
        Engine::Lanes(_) => {
            let salt = queue.randomness.bytes();
            Some(bcrypt_sha256::begin(&password, queue.settings.cost, salt))
        }
    };
    Ok((password, lane))
}

/// Advances every hash by a slice, and completes those that are done.
fn advance(queue: &HashQueue, thread: usize, running: &mut Vec<Running<'_>>) {
    let lanes = running
        .iter_mut()
        .filter_map(|running| running.lane.as_mut());
    if catch_unwind(AssertUnwindSafe(|| bcrypt_lanes::advance(lanes, SLICE))).is_err() {
        running
            .drain(..)
            .for_each(|running| running.order.complete(Err(HashError::Failed)));
        return;
    }
    let is_done = |running: &mut Running<'_>| running.lane.as_ref().is_none_or(Lane::is_done);
    for done in running.extract_if(.., is_done) {
        let Running {
            password,
            order,
            held,
            lane,
            begun,
            span,
        } = done;
        let hash = catch_unwind(AssertUnwindSafe(|| end(queue, &password, lane)));
        if hash.is_err() {
            spans::fail(&span, "panic");
        }
        drop(span);
        queue.ended(thread, hash.is_ok().then(|| clock::since(begun)));
        drop(held);
        order.complete(hash.map_err(|_| HashError::Failed));
    }
}

fn end(queue: &HashQueue, password: &Password, lane: Option<Lane>) -> PasswordHash {
    lane.and_then(|lane| bcrypt_sha256::finish(lane).ok())
        .unwrap_or_else(|| {
            let salt = queue.randomness.bytes();
            bcrypt_sha256::hash(password, queue.settings.cost, salt)
        })
}

/// Lowers the thread's priority below that of the threads that serve requests. A failure is
/// harmless: the threads then share the cores evenly.
#[cfg(target_os = "linux")]
fn lower_priority(nice: i32) {
    // On Linux, priorities are per thread: see setpriority(2), "C library/kernel differences".
    if let Err(error) = rustix::process::setpriority_process(None, nice) {
        tracing::warn!(reason = %error, "cannot lower the priority of hashing threads");
    }
}

/// Does nothing: on other systems the priority is that of the whole process.
#[cfg(not(target_os = "linux"))]
const fn lower_priority(_: i32) {}
