//! All connections of clients together: how many there are, and how many bytes are held for them.
//!
//! Each connection reports where it is and how much it makes the service hold. Two sums bound
//! memory, whatever clients do: beyond three quarters of the connections that may be open, each
//! new one closes the one that has made no progress for longest; and beyond the budget of bytes,
//! the slowest of those that hold some is closed. A connection whose request is being worked on
//! is never chosen for the first reason.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

use crate::platform::metrics::{ConnectionCut, InFlight, Metrics};

/// Bytes that a connection may hold without being counted: an ordinary request and its response.
/// Below it, no thread has to tell another anything.
const UNCOUNTED: usize = 8 * 1024;

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// It is new, or some of a request's head has arrived.
    Head = 0,
    /// A request is being worked on.
    Serving = 1,
    /// A response is being taken by the client.
    Responding = 2,
    /// Nothing has arrived since the last response was taken.
    Idle = 3,
}

/// The connections of a listener. A copy is the same.
#[derive(Clone)]
pub struct Connections(Arc<All>);

struct All {
    /// From so many on, a new connection closes an old one.
    crowded: usize,
    /// Bytes that all of them may hold, over [`UNCOUNTED`] for each.
    budget: usize,
    held: AtomicUsize,
    open: Mutex<Open>,
    is_closing: AtomicBool,
    begun: Instant,
    metrics: Metrics,
}

#[derive(Default)]
struct Open {
    next: u64,
    by_id: HashMap<u64, Arc<Seen>>,
}

/// What other threads see of a connection.
struct Seen {
    phase: AtomicU8,
    /// The last progress, in microseconds since the service began.
    since: AtomicU64,
    held: AtomicUsize,
    is_cut: AtomicBool,
    waker: AtomicWaker,
}

impl Connections {
    /// None is open yet. `most` may be open at a time, and hold `budget` bytes together.
    #[must_use]
    pub fn new(most: usize, budget: usize, metrics: Metrics) -> Self {
        Self(Arc::new(All {
            crowded: (most * 3 / 4).max(1),
            budget,
            held: AtomicUsize::new(0),
            open: Mutex::default(),
            is_closing: AtomicBool::new(false),
            begun: Instant::now(),
            metrics,
        }))
    }

    /// Asks each connection to end, after the request that it has.
    pub fn close(&self) {
        self.0.is_closing.store(true, Release);
        for seen in self.0.lock().by_id.values() {
            seen.waker.wake();
        }
    }

    /// Counts a connection in, and closes another one where there are many.
    #[must_use]
    pub fn enter(&self) -> Place {
        let seen = Arc::new(Seen {
            phase: AtomicU8::new(Phase::Head as u8),
            since: AtomicU64::new(self.0.now()),
            held: AtomicUsize::new(0),
            is_cut: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        let mut open = self.0.lock();
        if open.by_id.len() >= self.0.crowded
            && let Some(stalest) = open.stalest(|seen| seen.phase() != Phase::Serving as u8)
        {
            stalest.cut();
            self.0.metrics.connection_cut(ConnectionCut::Crowded);
        }
        let id = open.next;
        open.next += 1;
        open.by_id.insert(id, Arc::clone(&seen));
        drop(open);
        Place {
            id,
            _counted: self.0.metrics.connection_begins(),
            all: self.clone(),
            seen,
            request: Cell::new(0),
            response: Cell::new(0),
        }
    }
}

impl All {
    fn lock(&self) -> MutexGuard<'_, Open> {
        // Nothing that can panic runs under the lock.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Closes the slowest of those that hold something, until the rest keeps the budget.
    fn relieve(&self) {
        let open = self.lock();
        let mut held = self.held.load(Relaxed);
        // Somewhat below, so that the next bytes do not bring everybody here again.
        while held > self.budget / 8 * 7
            && let Some(slowest) = open.stalest(|seen| seen.held.load(Relaxed) > 0)
        {
            held = held.saturating_sub(slowest.held.load(Relaxed));
            slowest.cut();
            self.metrics.connection_cut(ConnectionCut::Memory);
        }
    }
}

impl Open {
    /// Of those that it may be and that are not cut yet, the one without progress for longest.
    fn stalest(&self, may_be: impl Fn(&Seen) -> bool) -> Option<&Seen> {
        self.by_id
            .values()
            .map(AsRef::as_ref)
            .filter(|seen| !seen.is_cut.load(Relaxed) && may_be(seen))
            .min_by_key(|seen| seen.since.load(Relaxed))
    }
}

impl Seen {
    fn phase(&self) -> u8 {
        self.phase.load(Relaxed)
    }

    fn cut(&self) {
        self.is_cut.store(true, Release);
        self.waker.wake();
    }
}

/// The place of one connection among all. Dropped, it is free again.
pub struct Place {
    id: u64,
    all: Connections,
    seen: Arc<Seen>,
    /// Bytes of requests that were read and are not done with.
    request: Cell<usize>,
    /// Bytes of a response that is not taken.
    response: Cell<usize>,
    _counted: InFlight,
}

impl Place {
    /// Where the connection is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.seen.phase() {
            0 => Phase::Head,
            1 => Phase::Serving,
            2 => Phase::Responding,
            _ => Phase::Idle,
        }
    }

    /// Enters a phase.
    pub fn enter(&self, phase: Phase) {
        self.seen.phase.store(phase as u8, Relaxed);
        self.progress();
    }

    /// Takes note of progress.
    pub fn progress(&self) {
        self.seen.since.store(self.all.0.now(), Relaxed);
    }

    /// The moment of the last progress.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.all.0.begun + Duration::from_micros(self.seen.since.load(Relaxed))
    }

    /// Bytes of a request were read.
    pub fn read(&self, bytes: usize) {
        self.request.set(self.request.get() + bytes);
        self.settle();
    }

    /// A response of this size waits to be taken.
    pub fn respond(&self, bytes: usize) {
        self.response.set(bytes);
        self.settle();
    }

    /// The response was taken: nothing is held any more.
    pub fn done(&self) {
        self.request.set(0);
        self.response.set(0);
        self.settle();
    }

    /// Tells the others what is held, where it is more than usual or was.
    fn settle(&self) {
        let held = (self.request.get() + self.response.get()).saturating_sub(UNCOUNTED);
        let before = self.seen.held.load(Relaxed);
        if held == before {
            return;
        }
        self.seen.held.store(held, Relaxed);
        let all = &self.all.0;
        if held > before {
            let sum = all.held.fetch_add(held - before, Relaxed) + held - before;
            if sum > all.budget {
                all.relieve();
            }
        } else {
            all.held.fetch_sub(before - held, Relaxed);
        }
    }

    /// Whether the connection is to be closed, for the sake of others. If not, the waker is woken
    /// when it is.
    pub fn is_cut(&self, waker: &Waker) -> bool {
        self.seen.waker.register(waker);
        self.seen.is_cut.load(Acquire)
    }
}

impl Place {
    /// Whether the connection is to end, after the request that it has.
    pub fn is_closing(&self) -> bool {
        self.all.0.is_closing.load(Acquire)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.done();
        self.all.0.lock().by_id.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(most: usize, budget: usize) -> Connections {
        Connections::new(most, budget, Metrics::new().expect("names that differ"))
    }

    fn is_cut(place: &Place) -> bool {
        place.is_cut(Waker::noop())
    }

    /// Makes the order of progress certain: the clock has microseconds.
    fn enter(place: &Place, phase: Phase) {
        let all = &place.all.0;
        let tick = || {
            let now = all.now();
            while all.now() == now {}
        };
        tick();
        place.enter(phase);
        tick();
    }

    #[test]
    fn a_crowd_costs_the_one_that_waits_longest_its_place() {
        let all = connections(4, 1_000_000);
        let places: Vec<Place> = (0..3).map(|_| all.enter()).collect();
        enter(&places[0], Phase::Serving);
        enter(&places[1], Phase::Idle);
        enter(&places[2], Phase::Head);
        let new = all.enter();
        let cut: Vec<bool> = places.iter().map(is_cut).collect();
        assert_eq!(cut, [false, true, false]);
        assert!(!is_cut(&new));
        // Who is cut already is not chosen again.
        let _newer = all.enter();
        assert!(is_cut(&places[2]) && !is_cut(&places[0]) && !is_cut(&new));
    }

    #[test]
    fn beyond_the_budget_the_slowest_that_holds_something_goes() {
        let all = connections(100, 100_000);
        let (small, slow, quick) = (all.enter(), all.enter(), all.enter());
        small.read(UNCOUNTED);
        enter(&slow, Phase::Responding);
        slow.respond(60_000);
        enter(&quick, Phase::Responding);
        quick.respond(40_000);
        assert!(![&small, &slow, &quick].into_iter().any(is_cut));
        quick.respond(60_000);
        assert!(is_cut(&slow));
        assert!(!is_cut(&quick) && !is_cut(&small));
    }

    #[test]
    fn what_is_held_is_given_back() {
        let all = connections(10, 1_000_000);
        let place = all.enter();
        place.read(20_000);
        place.respond(30_000);
        assert_eq!(all.0.held.load(Relaxed), 50_000 - UNCOUNTED);
        place.done();
        assert_eq!(all.0.held.load(Relaxed), 0);
        place.read(20_000);
        drop(place);
        assert_eq!(all.0.held.load(Relaxed), 0);
        assert!(all.0.lock().by_id.is_empty());
    }
}
