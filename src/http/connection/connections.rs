//! All connections of clients together: how many there are, and how many bytes are held for them.
//!
//! Each connection reports where it is and how much it makes the service hold. Two sums bound
//! memory, whatever clients do: beyond three quarters of the connections that may be open, each
//! new one closes one of the network that has most of them, which has made no progress for long;
//! and beyond the budget of bytes, the slowest of those that hold some are closed. A connection whose
//! request is being worked on is never chosen for the first reason.
//!
//! What is closed may come back at once. So a network that has a large part of all, where there are
//! others, gets new ones for old ones only so many times a second; what it opens beyond that is closed
//! before anything is read from it. It never gets one for that of a network that has fewer.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use rand::seq::IndexedRandom;

use super::MAX_HEAD;
use super::exchange::PIECE;
use crate::platform::client::Network;
use crate::platform::clock;
use crate::platform::metrics::{ConnectionCut, InFlight, Metrics};

/// Bytes that a connection may hold without being counted: an ordinary request and its response.
/// Below it, no thread has to tell another anything.
const UNCOUNTED: usize = 8 * 1024;

/// What hyper's buffer for a response grows to: what waits in it, and a piece more.
const WRITE_BUFFER: usize = MAX_HEAD + PIECE;

/// How many connections a new one compares to find one that may go. All of them would cost more
/// than the new one itself; among so many of a crowd, one of the stalest twentieth is nearly always
/// (1 - 0.95^64 = 96 %).
const COMPARED: usize = 64;

/// The part of all connections from which on a network keeps others out: a quarter.
const LARGE_PART: usize = 4;

/// How often a second such a network gets a new one for an old one, and how many times in a row.
const EXCHANGES_PER_SECOND: u64 = 100;
const EXCHANGES_IN_A_ROW: u64 = 100;

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
    /// A request waits for its turn, as it came behind another.
    Queued = 4,
    /// Nothing has arrived since the last response was taken.
    Idle = 3,
}

/// The connections of a listener. A copy is the same.
#[derive(Clone)]
pub struct Connections(Arc<All>);

struct All {
    /// From so many on, a new connection closes an old one.
    crowded: usize,
    /// From so many on, any network's may be the one.
    nearly_full: usize,
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
    /// Each knows its index.
    all: Vec<Arc<Seen>>,
    /// The networks that have any.
    networks: HashMap<Option<Network>, Arc<NetworkLoad>>,
}

/// The connections of a network. It changes under the lock only.
#[derive(Default)]
struct NetworkLoad {
    count: AtomicUsize,
    /// When its exchanges so far would have been made one by one, in microseconds since the service
    /// began.
    exchanged: AtomicU64,
}

/// What other threads see of a connection.
struct Seen {
    /// Its place in [`Open`], which only who has the lock looks at.
    index: AtomicUsize,
    network: Option<Network>,
    network_load: Arc<NetworkLoad>,
    phase: AtomicU8,
    /// The last progress, in microseconds since the service began.
    since: AtomicU64,
    /// Its part of the sum. Once it is cut, it has none.
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
            nearly_full: (most * 7 / 8).max(1),
            budget,
            held: AtomicUsize::new(0),
            open: Mutex::default(),
            is_closing: AtomicBool::new(false),
            begun: clock::monotonic(),
            metrics,
        }))
    }

    /// Asks each connection to end, after the request that it has.
    pub fn close(&self) {
        self.0.is_closing.store(true, Release);
        for seen in &self.0.lock().all {
            seen.waker.wake();
        }
    }

    /// Counts a connection from a network in, and closes another one where there are many.
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
        // No panic leaves it half changed.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(clock::since(self.begun).as_micros()).unwrap_or(u64::MAX)
    }

    /// Closes the slowest of those that hold something, until the rest keeps the budget.
    fn relieve(&self) {
        let open = self.lock();
        if self.held.load(Relaxed) <= self.budget {
            // Another thread was here meanwhile.
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
            // Somewhat below, so that the next bytes do not bring everybody here again.
            if self.held.load(Relaxed) <= self.budget / 8 * 7 {
                return;
            }
            self.cut(slowest);
            self.metrics.connection_cut(ConnectionCut::Memory);
        }
    }

    /// Has a connection close. What it holds counts no more: it is about to be given back.
    fn cut(&self, seen: &Seen) {
        seen.is_cut.store(true, Release);
        self.forget(seen);
        seen.waker.wake();
    }

    /// Takes what a connection holds off the sum. Whoever takes its part out subtracts it, once.
    fn forget(&self, seen: &Seen) {
        self.held.fetch_sub(seen.held.swap(0, AcqRel), Relaxed);
    }
}

impl Open {
    /// The connection that is to close for a new one: another, or the new one itself. None, where the
    /// larger networks have nothing but connections that are being served, and there is room.
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
        // Where it is nearly full, whoever is idle has to go.
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
    /// Whether it may have one for another at this moment; counts it, if so.
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

    /// How many connections its network has, to a factor of two.
    fn share(&self) -> u32 {
        self.network_load.count.load(Relaxed).max(1).ilog2()
    }
}

/// The place of one connection among all. Dropped, it is free again.
pub struct Place {
    all: Connections,
    seen: Arc<Seen>,
    /// Bytes of requests that were read and are not done with.
    request: Cell<usize>,
    /// Bytes of a response that is not taken.
    response: Cell<usize>,
    /// What the buffers of hyper have grown to. They stay so for as long as the connection is open.
    read_buffer: Cell<usize>,
    write_buffer: Cell<usize>,
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
            4 => Phase::Queued,
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
        let grown = self.request.get().min(MAX_HEAD);
        if grown > UNCOUNTED {
            self.read_buffer.set(self.read_buffer.get().max(grown));
        }
        self.settle();
    }

    /// A response of this size waits to be taken, of which so much is the connection's own.
    pub fn respond(&self, bytes: usize, own: usize) {
        self.response.set(own);
        if bytes > UNCOUNTED {
            self.write_buffer.set(WRITE_BUFFER);
        }
        self.settle();
    }

    /// The response was taken: nothing but buffers is held any more.
    pub fn done(&self) {
        self.request.set(0);
        self.response.set(0);
        self.settle();
    }

    /// Tells the others what is held, where it is more than usual or was.
    fn settle(&self) {
        let request = self.request.get().max(self.read_buffer.get());
        let response = self.response.get().max(self.write_buffer.get());
        let held = (request + response).saturating_sub(UNCOUNTED);
        let before = self.seen.held.load(Relaxed);
        if held == before || self.seen.is_cut.load(Acquire) {
            return;
        }
        let all = &self.all.0;
        // Added before it is its own, so that nobody can subtract it first.
        let sum = all.held.fetch_add(held, Relaxed) + held;
        // Only who cuts it changes it, too.
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

    /// Whether the connection is to be closed, for the sake of others. If not, the waker is woken
    /// when it is.
    pub fn is_cut(&self, waker: &Waker) -> bool {
        self.seen.waker.register(waker);
        self.seen.is_cut.load(Acquire)
    }

    /// Whether the connection is to end, after the request that it has.
    pub fn is_closing(&self) -> bool {
        self.all.0.is_closing.load(Acquire)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.0.forget(&self.seen);
        self.all.0.lock().remove(&self.seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::client::Client;

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
    fn a_crowd_costs_the_one_that_waits_longest_its_place() {
        let all = connections(4, 1_000_000);
        let places: Vec<Place> = (0..3).map(|_| all.enter(None)).collect();
        enter(&places[0], Phase::Serving);
        enter(&places[1], Phase::Idle);
        enter(&places[2], Phase::Head);
        let new = all.enter(None);
        let cut: Vec<bool> = places.iter().map(is_cut).collect();
        assert_eq!(cut, [false, true, false]);
        assert!(!is_cut(&new));
        // Who is cut already is not chosen again.
        let _newer = all.enter(None);
        assert!(is_cut(&places[2]) && !is_cut(&places[0]) && !is_cut(&new));
    }

    #[test]
    fn beyond_the_budget_the_slowest_that_holds_something_goes() {
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
    fn what_is_held_is_given_back() {
        let all = connections(10, 1_000_000);
        let place = all.enter(None);
        place.read(20_000);
        place.respond(30_000, 30_000);
        // The buffers stay as large as they have grown.
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
    fn what_is_cut_counts_no_more() {
        let all = connections(100, 100_000);
        let (slow, quick) = (all.enter(None), all.enter(None));
        enter(&slow, Phase::Responding);
        slow.respond(90_000, 90_000);
        enter(&quick, Phase::Responding);
        quick.respond(90_000, 90_000);
        assert!(is_cut(&slow) && !is_cut(&quick));
        // Whatever it does until it is closed: nobody else has to go for it.
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
    fn of_a_large_crowd_one_of_the_stalest_goes() {
        const CROWD: usize = 2_000;
        let all = connections(CROWD, 1_000_000);
        let places: Vec<Place> = (0..CROWD).map(|_| all.enter(None)).collect();
        let cut = places.iter().filter(|place| is_cut(place)).count();
        assert_eq!(cut, CROWD / 4);
        // One that is not among the oldest half could be chosen only where none of 64 is.
        assert!(
            !places[CROWD / 2..].iter().any(is_cut),
            "a new one had to go"
        );
    }

    #[test]
    fn a_network_that_has_all_of_them_served_keeps_nobody_out() {
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
        // What is being served stays, and so does the idle one of another network: the crowd's own
        // new ones go.
        assert!(!is_cut(&honest));
        let crowded = CROWD / 4 * 3;
        assert!(!crowd[..crowded - 1].iter().any(is_cut));
        assert!(crowd[crowded..].iter().all(is_cut));
        crowd.truncate(crowded - 1);
        let more: Vec<Place> = (2..50).map(|last| all.enter(Some(network(last)))).collect();
        assert!(!more.iter().any(is_cut));
    }

    #[test]
    fn many_networks_of_few_connections_each_are_let_in_without_a_limit() {
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
            assert!(!is_cut(&place), "the {number}th had to go");
            places.push(place);
            places.retain(|place| !is_cut(place));
        }
        assert_eq!(places.len(), 750);
    }

    #[test]
    fn what_comes_back_at_once_is_let_in_only_so_often() {
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
    fn a_crowd_of_one_network_costs_other_networks_nothing() {
        const CROWD: usize = 400;
        let all = connections(CROWD, 1_000_000);
        // They have waited for longest, and yet are few.
        let others: Vec<Place> = (1..=16)
            .map(|last| all.enter(Some(network(last))))
            .collect();
        let crowd: Vec<Place> = (0..CROWD).map(|_| all.enter(Some(network(99)))).collect();
        assert!(!others.iter().any(is_cut), "another network had to go");
        let cut = || crowd.iter().filter(|place| is_cut(place)).count();
        let before = others.len() + CROWD - CROWD / 4 * 3;
        assert_eq!(cut(), before);
        // However many of them come, one of the crowd goes.
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
