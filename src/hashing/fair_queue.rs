//! The jobs that wait for a lane: a queue per client network, served in turns.
//!
//! A network that exceeds its share delays only itself. It may hold a quarter of the lanes and a
//! quarter of the places; more only while no other network wants them. The queue is independent of
//! time, threads and replies, so that a test can compare it with a model.

use std::collections::{BTreeMap, VecDeque};

/// A network may hold one in this many lanes and places while others wait.
const PARTS: usize = 4;

/// A queue of jobs `T` of networks `K`. It tracks a network only while it has a job waiting or
/// holds a lane, so it tracks at most as many networks as there are places and lanes.
pub struct FairQueue<K, T> {
    networks: BTreeMap<K, Share<T>>,
    /// The networks with a waiting job, the next first.
    turns: VecDeque<K>,
    /// Waiting jobs, over all networks.
    waiting: usize,
    /// The maximum of waiting jobs.
    places: usize,
    /// Lanes over all threads.
    lanes: usize,
}

/// The share of one network.
struct Share<T> {
    /// Waiting jobs, the oldest first.
    waiting: VecDeque<T>,
    /// Lanes that it holds.
    lanes: usize,
}

/// Whether one more job of a network would be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<K> {
    /// It would be.
    Free,
    /// It would be, in place of the newest job of this network, which has more of them.
    Instead(K),
    /// The network has used its share of the places, and others wait.
    ShareUsed,
    /// Every place is taken, and no network has more than this one.
    Full,
}

impl<K: Copy + Ord, T> FairQueue<K, T> {
    /// An empty queue with this many places and lanes, at least one of each.
    pub const fn new(places: usize, lanes: usize) -> Self {
        Self {
            networks: BTreeMap::new(),
            turns: VecDeque::new(),
            waiting: 0,
            places,
            lanes,
        }
    }

    /// Waiting jobs, over all networks.
    pub const fn len(&self) -> usize {
        self.waiting
    }

    /// Whether no job waits.
    pub const fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Whether one more job of the network would be accepted.
    #[cfg(test)]
    pub fn place(&self, network: K) -> Place<K> {
        self.place_within(network, self.places)
    }

    /// Whether one more job of the network would be accepted if this many jobs may wait now: others
    /// than these may use the places too.
    pub fn place_within(&self, network: K, room: usize) -> Place<K> {
        let own = self.waiting_of(network);
        if own < self.waiting && own >= part(self.places) {
            return Place::ShareUsed;
        }
        if self.waiting < room {
            return Place::Free;
        }
        match self.largest() {
            Some((other, most)) if most > own + 1 => Place::Instead(other),
            _ => Place::Full,
        }
    }

    /// The network with most waiting jobs, and their number. Of several, the one whose turn is
    /// last.
    pub fn largest(&self) -> Option<(K, usize)> {
        let counts = self.turns.iter().map(|it| (*it, self.waiting_of(*it)));
        counts.max_by_key(|(_, count)| *count)
    }

    /// Adds a job, and returns the job that it replaced, if any, with its network.
    ///
    /// # Errors
    /// Why the job was rejected. It is dropped.
    #[cfg(test)]
    pub fn push(&mut self, network: K, job: T) -> Result<Option<(K, T)>, Place<K>> {
        let displaced = match self.place(network) {
            Place::Free => None,
            Place::Instead(_) => self.pop_of_largest(),
            refused => return Err(refused),
        };
        self.append(network, job);
        Ok(displaced)
    }

    /// Adds a job, for which there must be a place.
    pub fn append(&mut self, network: K, job: T) {
        let share = self.networks.entry(network).or_insert_with(|| Share {
            waiting: VecDeque::new(),
            lanes: 0,
        });
        if share.waiting.is_empty() {
            self.turns.push_back(network);
        }
        share.waiting.push_back(job);
        self.waiting += 1;
    }

    /// Drops the newest job of the network with most, and returns it with its network.
    pub fn pop_of_largest(&mut self) -> Option<(K, T)> {
        let (network, _) = self.largest()?;
        self.pop_newest(network).map(|job| (network, job))
    }

    /// Assigns a lane to the next job: the oldest of the network whose turn it is, among the
    /// networks below their share of the lanes; if all waiting networks hold their share, among
    /// all.
    pub fn take(&mut self) -> Option<(K, T)> {
        let part = part(self.lanes);
        let holds_less = |network: &K| self.share(*network).is_some_and(|it| it.lanes < part);
        let turn = self.turns.iter().position(holds_less).unwrap_or(0);
        let network = self.turns.remove(turn)?;
        let share = self.networks.get_mut(&network)?;
        let job = share.waiting.pop_front()?;
        share.lanes += 1;
        self.waiting -= 1;
        if !share.waiting.is_empty() {
            self.turns.push_back(network);
        }
        Some((network, job))
    }

    /// Releases a lane that [`FairQueue::take`] assigned to a job of the network.
    pub fn release(&mut self, network: K) {
        if let Some(share) = self.networks.get_mut(&network) {
            share.lanes = share.lanes.saturating_sub(1);
        }
        self.forget_if_idle(network);
    }

    /// The number of jobs that would get a lane before a new one of the network.
    #[cfg(test)]
    pub fn ahead(&self, network: K) -> usize {
        self.jobs_ahead(network).count()
    }

    /// Jobs that would get a lane before a new one of the network. In the turns until then, every
    /// other network has as many turns as this one.
    pub fn jobs_ahead(&self, network: K) -> impl Iterator<Item = &T> {
        let own = self.waiting_of(network);
        self.turns.iter().flat_map(move |other| {
            let turns = if *other == network { own } else { own + 1 };
            let share = self.share(*other).into_iter();
            share.flat_map(move |share| share.waiting.iter().take(turns))
        })
    }

    /// All waiting jobs.
    pub fn jobs(&self) -> impl Iterator<Item = &T> {
        let shares = self.networks.values();
        shares.flat_map(|share| share.waiting.iter())
    }

    /// Drops the jobs that `keep` rejects. Each network keeps its turn.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        let before = self.waiting;
        self.waiting = 0;
        for share in self.networks.values_mut() {
            share.waiting.retain_mut(&mut keep);
            self.waiting += share.waiting.len();
        }
        if self.waiting < before {
            self.networks
                .retain(|_, share| share.lanes > 0 || !share.waiting.is_empty());
            let networks = &self.networks;
            self.turns.retain(|network| {
                networks
                    .get(network)
                    .is_some_and(|share| !share.waiting.is_empty())
            });
        }
    }

    /// The oldest job of each waiting network.
    pub fn oldest(&self) -> impl Iterator<Item = &T> {
        let shares = self.turns.iter().filter_map(|it| self.share(*it));
        shares.filter_map(|share| share.waiting.front())
    }

    /// The number of tracked networks.
    #[cfg(test)]
    pub fn networks(&self) -> usize {
        self.networks.len()
    }

    /// The lanes that a network holds.
    #[cfg(test)]
    pub fn lanes_of(&self, network: K) -> usize {
        self.share(network).map_or(0, |share| share.lanes)
    }

    /// The waiting jobs of a network.
    pub fn waiting_of(&self, network: K) -> usize {
        self.share(network).map_or(0, |share| share.waiting.len())
    }

    fn share(&self, network: K) -> Option<&Share<T>> {
        self.networks.get(&network)
    }

    fn pop_newest(&mut self, network: K) -> Option<T> {
        let share = self.networks.get_mut(&network)?;
        let job = share.waiting.pop_back()?;
        self.waiting -= 1;
        if share.waiting.is_empty() {
            self.turns.retain(|other| *other != network);
        }
        self.forget_if_idle(network);
        Some(job)
    }

    fn forget_if_idle(&mut self, network: K) {
        let is_idle = |share: &Share<T>| share.lanes == 0 && share.waiting.is_empty();
        if self.share(network).is_some_and(is_idle) {
            self.networks.remove(&network);
        }
    }
}

/// The share of a network while others wait: at least one.
const fn part(all: usize) -> usize {
    if all < PARTS { 1 } else { all / PARTS }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A network's name, and the number of a job.
    type Queue = FairQueue<u16, u32>;

    fn filled(places: usize, lanes: usize, networks: &[u16]) -> Queue {
        let mut queue = Queue::new(places, lanes);
        for (number, network) in (0..).zip(networks) {
            assert_eq!(queue.push(*network, number), Ok(None));
        }
        queue
    }

    fn served(queue: &mut Queue) -> Vec<u16> {
        let next = || {
            let (network, _) = queue.take()?;
            queue.release(network);
            Some(network)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn networks_are_served_in_turns_and_each_in_its_own_order() {
        let mut queue = filled(10, 100, &[1, 1, 1, 2, 2, 3]);
        let order: Vec<(u16, u32)> = std::iter::from_fn(|| queue.take()).collect();
        assert_eq!(order, [(1, 0), (2, 3), (3, 5), (1, 1), (2, 4), (1, 2)]);
    }

    #[test]
    fn a_lone_network_may_use_everything() {
        let mut queue = filled(8, 8, &[1; 8]);
        assert_eq!(queue.place(1), Place::Full);
        while queue.take().is_some() {}
        assert_eq!(queue.lanes_of(1), 8);
    }

    #[test]
    fn a_network_with_its_share_of_the_lanes_lets_others_go_first() {
        let mut queue = filled(10, 8, &[1, 1, 1, 1]);
        assert_eq!((queue.take(), queue.take()), (Some((1, 0)), Some((1, 1))));
        queue.push(2, 7).expect("a place");
        queue.push(3, 8).expect("a place");
        assert_eq!(queue.take(), Some((2, 7)));
        assert_eq!(queue.take(), Some((3, 8)));
        // No other network wants the rest.
        assert_eq!(queue.take(), Some((1, 2)));
    }

    #[test]
    fn a_newcomer_takes_the_newest_place_of_the_network_that_has_most() {
        let mut queue = filled(4, 1, &[1, 1, 1, 1]);
        assert_eq!(queue.place(2), Place::Instead(1));
        assert_eq!(queue.push(2, 9), Ok(Some((1, 3))));
        assert_eq!(queue.push(3, 10), Ok(Some((1, 2))));
        assert_eq!(queue.push(4, 11), Ok(Some((1, 1))));
        // Each has one, and none has more than another.
        assert_eq!(queue.push(5, 12), Err(Place::Full));
        assert_eq!(queue.push(1, 13), Err(Place::ShareUsed));
        assert_eq!(served(&mut queue), [1, 2, 3, 4]);
    }

    #[test]
    fn beside_others_a_network_takes_no_more_than_its_share_of_the_places() {
        let mut queue = filled(8, 1, &[1, 2, 1]);
        assert_eq!(queue.place(1), Place::ShareUsed);
        assert_eq!(queue.place(2), Place::Free);
        assert_eq!(served(&mut queue), [1, 2, 1]);
        assert_eq!(queue.place(1), Place::Free);
    }

    #[test]
    fn jobs_ahead_are_counted_by_turns_and_not_by_queue_length() {
        let queue = filled(100, 1, &[[1].repeat(90), vec![2; 3]].concat());
        assert_eq!(queue.ahead(3), 2);
        assert_eq!(queue.ahead(2), 3 + 4);
        assert_eq!(queue.ahead(1), 90 + 3);
        let alone = filled(100, 1, &[1; 90]);
        assert_eq!(alone.ahead(1), 90);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(u16),
        Take,
        /// Releases the lane that was taken this many takes ago.
        Release(usize),
        /// Clients disconnect: the jobs whose number this divides.
        Leave(u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0_u16..12).prop_map(Step::Push),
            // One network floods the queue.
            4 => Just(Step::Push(0)),
            4 => Just(Step::Take),
            4 => (0_usize..16).prop_map(Step::Release),
            1 => (2_u32..7).prop_map(Step::Leave),
        ];
        prop::collection::vec(step, 0..300)
    }

    proptest! {
        /// The model: a plain list of waiting jobs, the oldest first, and one of held lanes.
        #[test]
        fn it_keeps_its_bounds_its_order_and_its_guarantees(
            places in 1_usize..20,
            lanes in 1_usize..10,
            steps in steps(),
        ) {
            let mut queue = Queue::new(places, lanes);
            let mut waiting: Vec<(u16, u32)> = Vec::new();
            let mut held: Vec<u16> = Vec::new();
            // Jobs of other networks that were served since a network's turn began.
            let mut passed: BTreeMap<u16, BTreeMap<u16, usize>> = BTreeMap::new();
            for (number, step) in (0_u32..).zip(steps) {
                let of = |waiting: &[(u16, u32)], network| {
                    waiting.iter().filter(|(one, _)| *one == network).count()
                };
                match step {
                    Step::Push(network) => {
                        let own = of(&waiting, network);
                        let largest = (0..12).map(|other| of(&waiting, other)).max().unwrap_or(0);
                        match queue.push(network, number) {
                            Ok(None) => prop_assert!(waiting.len() < places),
                            Ok(Some((loser, displaced))) => {
                                prop_assert_eq!(waiting.len(), places);
                                let at = waiting.iter().position(|job| *job == (loser, displaced));
                                waiting.remove(at.expect("it waited"));
                                prop_assert_eq!(of(&waiting, loser) + 1, largest);
                                prop_assert!(largest > own + 1);
                                let newest = waiting.iter().rfind(|(one, _)| *one == loser);
                                prop_assert!(newest.is_none_or(|(_, one)| *one < displaced));
                            }
                            Err(Place::Full) => {
                                prop_assert_eq!(waiting.len(), places);
                                prop_assert!(largest <= own + 1);
                                continue;
                            }
                            Err(_) => {
                                prop_assert!(own >= part(places) && own < waiting.len());
                                continue;
                            }
                        }
                        waiting.push((network, number));
                    }
                    Step::Take if held.len() < lanes => {
                        let Some((network, job)) = queue.take() else {
                            prop_assert!(waiting.is_empty(), "work is left undone");
                            continue;
                        };
                        let oldest = waiting.iter().position(|(one, _)| *one == network);
                        let oldest = waiting.remove(oldest.expect("it waited"));
                        prop_assert_eq!(oldest, (network, job), "in its own order");
                        let lanes_of = |network| held.iter().filter(|one| **one == network).count();
                        let holds_less = |network| lanes_of(network) < part(lanes);
                        let others: BTreeSet<u16> = waiting
                            .iter()
                            .map(|(other, _)| *other)
                            .filter(|other| *other != network)
                            .collect();
                        if !holds_less(network) {
                            prop_assert!(!others.iter().any(|other| holds_less(*other)));
                        }
                        passed.remove(&network);
                        for other in others.into_iter().filter(|other| holds_less(*other)) {
                            // No network is passed twice by the same network while it may have a
                            // lane.
                            let passed = passed.entry(other).or_default().entry(network).or_default();
                            *passed += 1;
                            prop_assert!(*passed <= 1, "{} waits for {}", other, network);
                        }
                        held.push(network);
                    }
                    Step::Release(at) if at < held.len() => queue.release(held.remove(at)),
                    Step::Take | Step::Release(_) => {}
                    Step::Leave(divisor) => {
                        queue.retain(|job| *job % divisor != 0);
                        waiting.retain(|(_, job)| *job % divisor != 0);
                    }
                }
                passed.retain(|network, _| of(&waiting, *network) > 0);
                let tracked: BTreeSet<u16> =
                    waiting.iter().map(|(one, _)| *one).chain(held.iter().copied()).collect();
                prop_assert_eq!(queue.networks(), tracked.len());
                prop_assert_eq!(queue.len(), waiting.len());
                prop_assert!(queue.len() <= places && queue.networks() <= places + lanes);
                for network in 0..12 {
                    prop_assert_eq!(queue.waiting_of(network), of(&waiting, network));
                    let lanes_of = held.iter().filter(|one| **one == network).count();
                    prop_assert_eq!(queue.lanes_of(network), lanes_of);
                }
            }
        }
    }
}
