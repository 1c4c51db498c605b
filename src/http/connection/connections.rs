//! Limits over all client connections: their number, and the bytes that are held for them.
//!
//! Each connection reports its phase and how much memory it uses. Two limits bound memory, whatever
//! clients do: beyond three quarters of the maximum number of connections, each new one closes one of the
//! network with the most connections that has made no progress for long; and beyond the budget of
//! bytes, the slowest connections that hold any are closed. A connection whose request is being
//! processed is never closed for the first reason. Until the closed ones have freed their bytes, no other
//! connection takes more: else a burst, of which each connection has its turn before any closed one has,
//! would hold many times the budget.
//!
//! A client whose connection was closed may reconnect immediately. So a network with a large share
//! of all connections, if there are others, may exchange old connections for new ones only at a
//! limited rate; further ones are closed before anything is read from them. It never replaces a
//! connection of a network that has fewer.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use rand::seq::IndexedRandom;

use super::MAX_HEAD;
use super::exchange::PIECE;
use crate::platform::client::Network;
use crate::platform::clock;
use crate::platform::metrics::{ConnectionCut, InFlight, Metrics};

/// Bytes that a connection may hold without being counted: an ordinary request and its response.
/// Below this, threads need no communication.
const UNCOUNTED: usize = 8 * 1024;

/// The size to which hyper's buffer for a response grows: its content, and one more piece.
const WRITE_BUFFER: usize = MAX_HEAD + PIECE;

/// How many connections a new one compares to find one to close. Comparing all would cost more than
/// the new one itself; among this many of a flood, one of the stalest twentieth is nearly always
/// found (1 - 0.95^64 = 96 %).
const COMPARED: usize = 64;

/// The share of all connections above which a network keeps others out: a quarter.
const LARGE_PART: usize = 4;

/// How many exchanges per second such a network may make, and how many in a burst.
const EXCHANGES_PER_SECOND: u64 = 100;
const EXCHANGES_IN_A_ROW: u64 = 100;

/// The phase of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// New, or part of a request's head has arrived.
    Head = 0,
    /// A request is being processed.
    Serving = 1,
    /// A response is being sent.
    Responding = 2,
    /// A pipelined request waits for its turn.
    Queued = 4,
    /// Nothing has arrived since the last response was sent.
    Idle = 3,
}

/// The connections of a listener. Clones share them.
#[derive(Clone)]
pub struct Connections(Arc<All>);

struct All {
    /// From this number on, a new connection closes an old one.
    crowded: usize,
    /// From this number on, that of any network may be closed.
    nearly_full: usize,
    /// Bytes that all of them may hold, beyond [`UNCOUNTED`] each.
    budget: usize,
    held: AtomicUsize,
    /// Bytes of connections that are cut and not closed yet.
    leaving: AtomicUsize,
    /// The connections that wait until these are freed.
    waiting: Mutex<Vec<Arc<Seen>>>,
    open: Mutex<Open>,
    is_closing: AtomicBool,
    begun: Instant,
    metrics: Metrics,
}

#[derive(Default)]
struct Open {
    /// All connections; each knows its index.
    all: Vec<Arc<Seen>>,
    /// The networks that have any.
    networks: HashMap<Option<Network>, Arc<NetworkLoad>>,
}

/// The connections of a network. Changed only under the lock.
#[derive(Default)]
struct NetworkLoad {
    count: AtomicUsize,
    /// When its exchanges so far would have ended at the limited rate, in microseconds since the
    /// service started.
    exchanged: AtomicU64,
}

/// The state of a connection that other threads see.
struct Seen {
    /// Its index in [`Open`], read only under the lock.
    index: AtomicUsize,
    network: Option<Network>,
    network_load: Arc<NetworkLoad>,
    phase: AtomicU8,
    /// The last progress, in microseconds since the service started.
    since: AtomicU64,
    /// Its part of the sum; 0 once it is cut.
    held: AtomicUsize,
    /// What that was when it was cut.
    leaving: AtomicUsize,
    /// Whether it is among those that wait.
    is_waiting: AtomicBool,
    is_cut: AtomicBool,
    waker: AtomicWaker,
}

impl Connections {
    /// Creates it without connections. At most `most` may be open, and hold `budget` bytes
    /// together.
    #[must_use]
    pub fn new(most: usize, budget: usize, metrics: Metrics) -> Self {
        Self(Arc::new(All {
            crowded: (most * 3 / 4).max(1),
            nearly_full: (most * 7 / 8).max(1),
            budget,
            held: AtomicUsize::new(0),
            leaving: AtomicUsize::new(0),
            waiting: Mutex::default(),
            open: Mutex::default(),
            is_closing: AtomicBool::new(false),
            begun: clock::monotonic(),
            metrics,
        }))
    }

    /// Asks each connection to close, after its current request.
    pub fn close(&self) {
        self.0.is_closing.store(true, Release);
        for seen in &self.0.lock().all {
            seen.waker.wake();
        }
    }

    /// Adds a connection from a network, and closes another one if there are many.
    #[must_use]
    pub fn enter(&self, network: Option<Network>) -> Place {
        let mut open = self.0.lock();
        let network_load = Arc::clone(open.networks.entry(network).or_default());
        network_load.count.fetch_add(1, Relaxed);
        let seen = Arc::new(Seen {
            index: AtomicUsize::new(open.all.len()),
            network,
            network_load,
            phase: AtomicU8::new(Phase::Head as u8),
            since: AtomicU64::new(self.0.now()),
            held: AtomicUsize::new(0),
            leaving: AtomicUsize::new(0),
            is_waiting: AtomicBool::new(false),
            is_cut: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        if open.all.len() >= self.0.crowded {
            let now = self.0.now();
            if let Some(leaves) = open.make_room_for(&seen, self.0.nearly_full, now) {
                self.0.cut(&leaves);
                self.0.metrics.connection_cut(ConnectionCut::Crowded);
            }
        }
        open.all.push(Arc::clone(&seen));
        drop(open);
        Place {
            _counted: self.0.metrics.connection_begins(),
            all: self.clone(),
            seen,
            request: Cell::new(0),
            response: Cell::new(0),
            read_buffer: Cell::new(0),
            write_buffer: Cell::new(0),
        }
    }
}

impl All {
    fn lock(&self) -> MutexGuard<'_, Open> {
        // A panic cannot leave it inconsistent.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(clock::since(self.begun).as_micros()).unwrap_or(u64::MAX)
    }

    /// Closes the slowest connections that hold any bytes, until the rest is within the budget.
    fn relieve(&self) {
        let open = self.lock();
        if self.held.load(Relaxed) <= self.budget {
            // Another thread has done it meanwhile.
            return;
        }
        let holds = |seen: &&Arc<Seen>| seen.held.load(Relaxed) > 0;
        let mut holders: Vec<(u64, &Arc<Seen>)> = open
            .all
            .iter()
            .filter(holds)
            .map(|seen| (seen.since.load(Relaxed), seen))
            .collect();
        holders.sort_unstable_by_key(|(since, _)| *since);
        for (_, slowest) in holders {
            // Somewhat below, so that the next bytes do not bring every thread here again.
            if self.held.load(Relaxed) <= self.budget / 8 * 7 {
                return;
            }
            self.cut(slowest);
            self.metrics.connection_cut(ConnectionCut::Memory);
        }
    }

    /// Closes a connection. Its bytes are about to be freed, so no other one is closed for them. Called
    /// under the lock.
    fn cut(&self, seen: &Seen) {
        seen.is_cut.store(true, Release);
        let bytes = self.forget(seen);
        seen.leaving.fetch_add(bytes, Relaxed);
        self.leaving.fetch_add(bytes, Relaxed);
        seen.waker.wake();
    }

    /// Subtracts a connection's bytes from the sum, and returns them. The thread that takes them out
    /// subtracts them, once.
    fn forget(&self, seen: &Seen) -> usize {
        let bytes = seen.held.swap(0, AcqRel);
        self.held.fetch_sub(bytes, Relaxed);
        bytes
    }

    /// Whether connections may take more bytes: not while more than the budget is in use, and some of it
    /// is about to be freed.
    fn has_room(&self) -> bool {
        let leaving = self.leaving.load(Acquire);
        leaving == 0 || self.held.load(Relaxed) + leaving <= self.budget
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Arc<Seen>>> {
        // A panic cannot leave it inconsistent.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that a connection that was cut has freed its bytes.
    fn freed(&self, seen: &Seen) {
        let bytes = seen.leaving.swap(0, Relaxed);
        if bytes == 0 {
            return;
        }
        self.leaving.fetch_sub(bytes, AcqRel);
        if self.has_room() {
            let waiting = std::mem::take(&mut *self.waiting());
            for seen in waiting {
                seen.is_waiting.store(false, Release);
                seen.waker.wake();
            }
        }
    }
}

impl Open {
    /// The connection to close for a new one: another, or the new one itself. `None` if the larger
    /// networks have only connections that are being served, and there is room.
    fn make_room_for(&self, new: &Arc<Seen>, nearly_full: usize, now: u64) -> Option<Arc<Seen>> {
        let count = new.network_load.count.load(Relaxed);
        let keeps_others_out = self.networks.len() > 1 && count > self.all.len() / LARGE_PART;
        let compared: Vec<&Arc<Seen>> = self
            .all
            .sample(&mut rand::rng(), COMPARED)
            .filter(|seen| !seen.is_cut.load(Relaxed))
            .collect();
        let shares = compared.iter().map(|seen| seen.share());
        let largest = shares.max().unwrap_or(0).max(new.share());
        // If it is nearly full, idle connections of any network may go.
        let is_nearly_full = self.all.len() >= nearly_full;
        let stale = compared
            .into_iter()
            .filter(|seen| seen.phase() != Phase::Serving as u8)
            .filter(|seen| is_nearly_full || seen.share() == largest)
            .min_by_key(|seen| (Reverse(seen.share()), seen.since.load(Relaxed)));
        let leaves = match stale {
            None if keeps_others_out => new,
            None => return None,
            Some(_) if keeps_others_out && !new.network_load.may_exchange(now) => new,
            Some(stale) if stale.share() < new.share() => new,
            Some(stale) => stale,
        };
        Some(Arc::clone(leaves))
    }

    fn remove(&mut self, seen: &Seen) {
        let index = seen.index.load(Relaxed);
        self.all.swap_remove(index);
        if let Some(moved) = self.all.get(index) {
            moved.index.store(index, Relaxed);
        }
        if seen.network_load.count.fetch_sub(1, Relaxed) == 1 {
            self.networks.remove(&seen.network);
        }
    }
}

impl NetworkLoad {
    /// Whether it may exchange a connection at this time; if so, counts it.
    fn may_exchange(&self, now: u64) -> bool {
        const INTERVAL: u64 = 1_000_000 / EXCHANGES_PER_SECOND;
        let exchanged = self.exchanged.load(Relaxed).max(now);
        if exchanged > now + INTERVAL * (EXCHANGES_IN_A_ROW - 1) {
            return false;
        }
        self.exchanged.store(exchanged + INTERVAL, Relaxed);
        true
    }
}

impl Seen {
    fn phase(&self) -> u8 {
        self.phase.load(Relaxed)
    }

    /// The number of connections of its network, to a factor of two.
    fn share(&self) -> u32 {
        self.network_load.count.load(Relaxed).max(1).ilog2()
    }
}

/// The place of one connection among all. It is freed when dropped.
pub struct Place {
    all: Connections,
    seen: Arc<Seen>,
    /// Bytes of requests that were read and are not processed yet.
    request: Cell<usize>,
    /// Bytes of a response that is not sent yet.
    response: Cell<usize>,
    /// The size that hyper's buffers have grown to. They keep it for the life of the connection.
    read_buffer: Cell<usize>,
    write_buffer: Cell<usize>,
    _counted: InFlight,
}

impl Place {
    /// The current phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match self.seen.phase() {
            0 => Phase::Head,
            1 => Phase::Serving,
            2 => Phase::Responding,
            4 => Phase::Queued,
            _ => Phase::Idle,
        }
    }

    /// Enters a phase.
    pub fn enter(&self, phase: Phase) {
        self.seen.phase.store(phase as u8, Relaxed);
        self.progress();
    }

    /// Records progress.
    pub fn progress(&self) {
        self.seen.since.store(self.all.0.now(), Relaxed);
    }

    /// The time of the last progress.
    #[must_use]
    pub fn since(&self) -> Instant {
        self.all.0.begun + Duration::from_micros(self.seen.since.load(Relaxed))
    }

    /// Ready when the connection may take this many more bytes of a request or a response: as soon as
    /// those that were cut are closed.
    pub fn poll_room(&self, bytes: usize, cx: &Context<'_>) -> Poll<()> {
        let all = &self.all.0;
        if self.request.get().saturating_add(bytes) <= UNCOUNTED || all.has_room() {
            return Poll::Ready(());
        }
        let mut waiting = all.waiting();
        self.seen.waker.register(cx.waker());
        // It may have become free before the lock was held; from now on it cannot be missed.
        if all.has_room() {
            return Poll::Ready(());
        }
        if !self.seen.is_waiting.swap(true, AcqRel) {
            waiting.push(Arc::clone(&self.seen));
        }
        Poll::Pending
    }

    /// Records that bytes of a request were read.
    pub fn read(&self, bytes: usize) {
        self.request.set(self.request.get() + bytes);
        let grown = self.request.get().min(MAX_HEAD);
        if grown > UNCOUNTED {
            self.read_buffer.set(self.read_buffer.get().max(grown));
        }
        self.settle();
    }

    /// Records that a response of this size waits to be sent, `own` bytes of it held by the
    /// connection.
    pub fn respond(&self, bytes: usize, own: usize) {
        self.response.set(own);
        if bytes > UNCOUNTED {
            self.write_buffer.set(WRITE_BUFFER);
        }
        self.settle();
    }

    /// Records that the response was sent: only buffers are held any more.
    pub fn done(&self) {
        self.request.set(0);
        self.response.set(0);
        self.settle();
    }

    /// Records that the buffers are freed as well.
    pub fn free(&self) {
        self.read_buffer.set(0);
        self.write_buffer.set(0);
        self.done();
        self.all.0.freed(&self.seen);
    }

    /// Updates the sum, if more than usual is or was held.
    fn settle(&self) {
        let request = self.request.get().max(self.read_buffer.get());
        let response = self.response.get().max(self.write_buffer.get());
        let held = (request + response).saturating_sub(UNCOUNTED);
        let before = self.seen.held.load(Relaxed);
        if held == before || self.seen.is_cut.load(Acquire) {
            return;
        }
        let all = &self.all.0;
        // Added before it is recorded, so that no other thread can subtract it first.
        let sum = all.held.fetch_add(held, Relaxed) + held;
        // Only a thread that cuts it changes it, too.
        let changed = self
            .seen
            .held
            .compare_exchange(before, held, AcqRel, Relaxed);
        all.held
            .fetch_sub(if changed.is_ok() { before } else { held }, Relaxed);
        if held > before && sum.saturating_sub(before) > all.budget {
            all.relieve();
        }
    }

    /// Whether the connection is to be closed in favour of others. If not, the waker is woken when
    /// it is.
    pub fn is_cut(&self, waker: &Waker) -> bool {
        self.seen.waker.register(waker);
        self.seen.is_cut.load(Acquire)
    }

    /// Whether the connection is to close, after its current request.
    pub fn is_closing(&self) -> bool {
        self.all.0.is_closing.load(Acquire)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let all = &self.all.0;
        all.forget(&self.seen);
        all.lock().remove(&self.seen);
        // No other thread can cut it any more.
        all.freed(&self.seen);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;
    use crate::platform::client::Client;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn connections(most: usize, budget: usize) -> Connections {
        Connections::new(most, budget, Metrics::new().expect("names that differ"))
    }

    fn network(last: u8) -> Network {
        let address = std::net::Ipv4Addr::new(192, 0, 2, last);
        Client::new(address.into(), false).network()
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
    fn in_a_crowd_the_longest_waiting_connection_is_closed() {
        let all = connections(4, 1_000_000);
        let places: Vec<Place> = (0..3).map(|_| all.enter(None)).collect();
        enter(&places[0], Phase::Serving);
        enter(&places[1], Phase::Idle);
        enter(&places[2], Phase::Head);
        let new = all.enter(None);
        let cut: Vec<bool> = places.iter().map(is_cut).collect();
        assert_eq!(cut, [false, true, false]);
        assert!(!is_cut(&new));
        // A connection that is already cut is not chosen again.
        let _newer = all.enter(None);
        assert!(is_cut(&places[2]) && !is_cut(&places[0]) && !is_cut(&new));
    }

    #[test]
    fn beyond_the_budget_the_slowest_holder_is_closed() {
        let all = connections(100, 100_000);
        let (small, slow, quick) = (all.enter(None), all.enter(None), all.enter(None));
        small.read(UNCOUNTED);
        enter(&slow, Phase::Responding);
        slow.respond(60_000, 60_000);
        enter(&quick, Phase::Responding);
        quick.respond(40_000, 40_000);
        assert!(![&small, &slow, &quick].into_iter().any(is_cut));
        quick.respond(60_000, 60_000);
        assert!(is_cut(&slow));
        assert!(!is_cut(&quick) && !is_cut(&small));
    }

    #[test]
    fn held_bytes_are_released() {
        let all = connections(10, 1_000_000);
        let place = all.enter(None);
        place.read(20_000);
        place.respond(30_000, 30_000);
        // The buffers keep the size they have grown to.
        let buffers = 20_000 + WRITE_BUFFER;
        assert_eq!(all.0.held.load(Relaxed), buffers - UNCOUNTED);
        place.done();
        assert_eq!(all.0.held.load(Relaxed), buffers - UNCOUNTED);
        place.read(1_000);
        place.respond(2_000, 2_000);
        place.done();
        assert_eq!(all.0.held.load(Relaxed), buffers - UNCOUNTED);
        place.read(20_000);
        drop(place);
        assert_eq!(all.0.held.load(Relaxed), 0);
        assert!(all.0.lock().all.is_empty());
    }

    #[test]
    fn a_cut_connection_does_not_count() {
        let all = connections(100, 100_000);
        let (slow, quick) = (all.enter(None), all.enter(None));
        enter(&slow, Phase::Responding);
        slow.respond(90_000, 90_000);
        enter(&quick, Phase::Responding);
        quick.respond(90_000, 90_000);
        assert!(is_cut(&slow) && !is_cut(&quick));
        // Whatever it does until it is closed, no other connection is closed for it.
        slow.respond(95_000, 95_000);
        slow.read(50_000);
        slow.done();
        quick.respond(95_000, 95_000);
        assert!(!is_cut(&quick));
        assert_eq!(all.0.held.load(Relaxed), 95_000 - UNCOUNTED);
        drop(slow);
        assert_eq!(all.0.held.load(Relaxed), 95_000 - UNCOUNTED);
    }

    #[test]
    fn a_burst_takes_no_more_than_the_budget() {
        const TAKEN: usize = 32_000;
        let (most, budget) = (1_000, 1_000_000);
        let all = connections(most, budget);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = Context::from_waker(&waker);
        let mut places = Vec::new();
        let mut waited = 0;
        // Each has its turn before any that was cut has.
        for _ in 0..most / 2 {
            let place = all.enter(None);
            if place.poll_room(TAKEN, &cx).is_ready() {
                place.read(TAKEN);
            } else {
                waited += 1;
                assert!(place.poll_room(UNCOUNTED, &cx).is_ready(), "little is free");
            }
            let taken = all.0.held.load(Relaxed) + all.0.leaving.load(Relaxed);
            assert!(taken <= budget + TAKEN, "{taken}");
            places.push(place);
        }
        assert!(waited > most / 4, "{waited}");
        assert_eq!(woken.0.load(Relaxed), 0);
        places.retain(|place| !is_cut(place));
        assert_eq!(woken.0.load(Relaxed), waited);
        assert!(
            places
                .iter()
                .all(|place| place.poll_room(TAKEN, &cx).is_ready())
        );
        assert!(all.0.waiting().is_empty());
        places.clear();
        assert_eq!(
            (all.0.held.load(Relaxed), all.0.leaving.load(Relaxed)),
            (0, 0)
        );
    }

    #[test]
    fn a_connection_that_was_cut_can_free_its_bytes_before_it_closes() {
        let all = connections(100, 100_000);
        let (slow, quick) = (all.enter(None), all.enter(None));
        enter(&slow, Phase::Responding);
        slow.respond(90_000, 90_000);
        enter(&quick, Phase::Responding);
        quick.respond(90_000, 90_000);
        let cx = Context::from_waker(Waker::noop());
        assert!(is_cut(&slow) && quick.poll_room(20_000, &cx).is_pending());
        slow.free();
        assert!(quick.poll_room(20_000, &cx).is_ready());
    }

    #[test]
    fn in_a_large_crowd_one_of_the_stalest_is_closed() {
        const CROWD: usize = 2_000;
        let all = connections(CROWD, 1_000_000);
        let places: Vec<Place> = (0..CROWD).map(|_| all.enter(None)).collect();
        let cut = places.iter().filter(|place| is_cut(place)).count();
        assert_eq!(cut, CROWD / 4);
        // One outside the oldest half could be chosen only if none of 64 is in it.
        assert!(
            !places[CROWD / 2..].iter().any(is_cut),
            "a new one was closed"
        );
    }

    #[test]
    fn a_network_with_all_connections_in_service_keeps_no_other_out() {
        const CROWD: usize = 400;
        let all = connections(CROWD, 1_000_000);
        let honest = all.enter(Some(network(1)));
        enter(&honest, Phase::Idle);
        let serve = |place: Place| {
            place.enter(Phase::Serving);
            place
        };
        let mut crowd: Vec<Place> = (0..CROWD)
            .map(|_| serve(all.enter(Some(network(99)))))
            .collect();
        // Connections in service stay, and so does the idle one of another network: the flood's own
        // new ones are closed.
        assert!(!is_cut(&honest));
        let crowded = CROWD / 4 * 3;
        assert!(!crowd[..crowded - 1].iter().any(is_cut));
        assert!(crowd[crowded..].iter().all(is_cut));
        crowd.truncate(crowded - 1);
        let more: Vec<Place> = (2..50).map(|last| all.enter(Some(network(last)))).collect();
        assert!(!more.iter().any(is_cut));
    }

    #[test]
    fn many_networks_with_few_connections_each_are_not_limited() {
        let all = connections(1_000, 1_000_000);
        let enter = |number: u16| {
            let [high, low] = number.to_be_bytes();
            let address = std::net::Ipv4Addr::new(198, 18, high, low);
            let client = Client::new(address.into(), false);
            all.enter(Some(client.network()))
        };
        let mut places = Vec::new();
        for number in 0..4_000 {
            let place = enter(number);
            assert!(!is_cut(&place), "the {number}th was closed");
            places.push(place);
            places.retain(|place| !is_cut(place));
        }
        assert_eq!(places.len(), 750);
    }

    #[test]
    fn immediate_reconnects_are_limited() {
        let network = NetworkLoad::default();
        let allowed = |now| (0..1_000).filter(|_| network.may_exchange(now)).count();
        let in_a_row = usize::try_from(EXCHANGES_IN_A_ROW).expect("few");
        let in_a_second = usize::try_from(EXCHANGES_PER_SECOND).expect("few");
        let begun = 1_000_000_000;
        assert_eq!(allowed(begun), in_a_row);
        assert_eq!(allowed(begun), 0);
        let half = allowed(begun + 500_000);
        assert_eq!(half, in_a_second / 2);
        assert_eq!(allowed(begun + 3_600_000_000), in_a_row);
    }

    #[test]
    fn a_flood_from_one_network_costs_other_networks_nothing() {
        const CROWD: usize = 400;
        let all = connections(CROWD, 1_000_000);
        // They have waited for longest, but are few.
        let others: Vec<Place> = (1..=16)
            .map(|last| all.enter(Some(network(last))))
            .collect();
        let crowd: Vec<Place> = (0..CROWD).map(|_| all.enter(Some(network(99)))).collect();
        assert!(!others.iter().any(is_cut), "another network was closed");
        let cut = || crowd.iter().filter(|place| is_cut(place)).count();
        let before = others.len() + CROWD - CROWD / 4 * 3;
        assert_eq!(cut(), before);
        // However many of them connect, one of the flood is closed.
        let more: Vec<Place> = (100..200)
            .map(|last| all.enter(Some(network(last))))
            .collect();
        assert!(!more.iter().chain(&others).any(is_cut));
        assert_eq!(cut(), before + more.len());
        drop((others, crowd, more));
        assert!(all.0.lock().networks.is_empty());
    }

    #[test]
    fn each_keeps_its_place_as_others_come_and_go() {
        let all = connections(1_000, 1_000_000);
        let mut places: Vec<Place> = (0..50).map(|_| all.enter(None)).collect();
        for round in 0..200 {
            let gone = round * 7 % places.len();
            drop(places.swap_remove(gone));
            places.push(all.enter(None));
            let open = all.0.lock();
            assert_eq!(open.all.len(), places.len());
            for (index, seen) in open.all.iter().enumerate() {
                assert_eq!(seen.index.load(Relaxed), index);
            }
        }
    }
}
