//! The jobs that wait for a lane, by their class: a [`FairQueue`] for each class, and its share of
//! lanes and places.
//!
//! A class alone has everything. While several wait, each has a part of the lane time that follows
//! its weight, whatever the others send:
//!
//! - A class that holds fewer whole lanes than its share goes first. So one that was idle has its
//!   lanes as soon as some end.
//! - Otherwise the class goes first that has had least. Each has a clock of the lane time that it
//!   was given, divided by its weight, and the one that is most behind is next. A class that was
//!   idle begins where the others are, so it saves nothing up. This is start-time fair queueing:
//!   deficit round robin has the same shares, but lets a class wait for the whole turns of others.
//!
//! A place in a full queue is lost by the class that holds most beyond its share, to one below its
//! own. Like [`FairQueue`], the queue is independent of time, threads and replies, so that a test
//! can compare it with a model. Lane time is counted in units of work, the iterations of a hash.

use super::class::Class;
use super::fair_queue::{FairQueue, Place};
use crate::config::HashShares;

const CLASSES: usize = Class::ALL.len();

/// Fractions of a unit of work that clocks count, as a power of two: so a division by a weight
/// hardly loses anything.
const FRACTION_BITS: u32 = 32;

/// A queue of jobs `T` of networks `K`, by class. What it keeps is bounded by places and lanes.
pub struct ClassQueue<K, T> {
    /// In the order of [`Class::ALL`].
    lots: [Lot<K, T>; CLASSES],
    /// The maximum of waiting jobs, over all classes.
    places: usize,
    /// Lanes over all threads.
    lanes: usize,
    /// The sum of all weights.
    weights: usize,
    /// Where a class begins that was idle: the clock of the waiting class that was most behind when a
    /// lane was assigned. It never goes back.
    now: u128,
}

/// What is kept of one class.
struct Lot<K, T> {
    queue: FairQueue<K, Piece<T>>,
    weight: u32,
    /// The lanes that it holds, with the work of their jobs.
    held: Load,
    /// The lane time that it was given, divided by its weight.
    clock: u128,
}

struct Piece<T> {
    work: u64,
    job: T,
}

/// A number of jobs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// How many.
    pub jobs: usize,
    /// The work of all of them.
    pub work: u64,
}

/// A lane that a job holds, to be released by [`ClassQueue::release`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold<K> {
    /// The class of the job.
    pub class: Class,
    /// The network of the job.
    pub network: K,
    /// The work of the job.
    pub work: u64,
}

/// Whether one more job of a class and a network would be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission<K> {
    /// It would be.
    Free,
    /// It would be, in place of the newest job of this class and network.
    Instead(Class, K),
    /// The network has all the places that one may have in this class.
    NetworkFull,
    /// The network has used its share of the places, and others of the class wait.
    ShareUsed,
    /// Every place is taken, and none is to be given up for this job.
    Full,
}

impl<K: Copy + Ord, T> ClassQueue<K, T> {
    /// An empty queue with this many places and lanes, at least one of each.
    pub fn new(places: usize, lanes: usize, shares: HashShares) -> Self {
        let lots = Class::ALL.map(|class| Lot {
            queue: FairQueue::new(places, lanes),
            weight: class.weight(shares),
            held: Load::default(),
            clock: 0,
        });
        Self {
            weights: lots.iter().map(|lot| whole(lot.weight)).sum(),
            lots,
            places,
            lanes,
            now: 0,
        }
    }

    /// Waiting jobs, over all classes.
    pub fn len(&self) -> usize {
        self.lots.iter().map(|lot| lot.queue.len()).sum()
    }

    /// Whether no job waits.
    pub fn is_empty(&self) -> bool {
        self.lots.iter().all(|lot| lot.queue.is_empty())
    }

    /// Whether one more job would be accepted.
    pub fn place(&self, class: Class, network: K) -> Admission<K> {
        let queue = &self.lot(class).queue;
        if class
            .network_places()
            .is_some_and(|most| queue.waiting_of(network) >= most)
        {
            return Admission::NetworkFull;
        }
        let (room, loser) = self.room(class);
        match queue.place_within(network, room) {
            Place::Free => loser
                .and_then(|loser| {
                    let (network, _) = self.lot(loser).queue.largest()?;
                    Some(Admission::Instead(loser, network))
                })
                .unwrap_or(Admission::Free),
            Place::Instead(network) => Admission::Instead(class, network),
            Place::ShareUsed => Admission::ShareUsed,
            Place::Full => Admission::Full,
        }
    }

    /// How many jobs of the class may wait once there is one more; and the class that would give up
    /// a place for it.
    fn room(&self, class: Class) -> (usize, Option<Class>) {
        let own = self.lot(class).queue.len();
        if self.len() < self.places {
            return (own + 1, None);
        }
        let excess = |class: Class| {
            let lot = self.lot(class);
            lot.queue.len().saturating_sub(self.places_of(lot))
        };
        let most = Class::ALL.into_iter().max_by_key(|other| excess(*other));
        match most.filter(|other| excess(*other) > 0) {
            Some(loser) if own < self.places_of(self.lot(class)) => (own + 1, Some(loser)),
            _ => (own, None),
        }
    }

    /// Adds a job, and returns the job that it replaced, if any, with its class and network.
    ///
    /// # Errors
    /// Why the job was rejected. It is dropped.
    pub fn push(
        &mut self,
        class: Class,
        network: K,
        work: u64,
        job: T,
    ) -> Result<Option<(Class, K, T)>, Admission<K>> {
        let displaced = match self.place(class, network) {
            Admission::Free => None,
            Admission::Instead(loser, _) => {
                let displaced = self.lot_mut(loser).queue.pop_of_largest();
                displaced.map(|(network, piece)| (loser, network, piece.job))
            }
            refused => return Err(refused),
        };
        let now = self.now;
        let lot = self.lot_mut(class);
        if lot.queue.is_empty() {
            lot.clock = lot.clock.max(now);
        }
        lot.queue.append(network, Piece { work, job });
        Ok(displaced)
    }

    /// Assigns a lane to the next job: of the class whose turn it is, the next of its networks.
    pub fn take(&mut self) -> Option<(Hold<K>, T)> {
        let waiting = || {
            let lots = Class::ALL.into_iter().zip(&self.lots);
            lots.filter(|(_, lot)| !lot.queue.is_empty())
        };
        let behind = waiting().map(|(_, lot)| lot.clock).min()?;
        // Of several, the first in the order of the classes.
        let (class, _) = waiting().min_by_key(|(_, lot)| {
            let has_its_lanes = lot.held.jobs >= self.lanes_of(lot);
            (has_its_lanes, lot.clock)
        })?;
        self.now = self.now.max(behind);
        // What a class owes for lanes out of its turn is bounded: all lanes, once.
        let lanes = self.lanes as u128;
        let lot = self.lot_mut(class);
        let (network, Piece { work, job }) = lot.queue.take()?;
        let charge = lot.charge(work);
        let most = behind + charge * lanes;
        lot.clock = (lot.clock + charge).min(most.max(lot.clock));
        lot.held.jobs += 1;
        lot.held.work += work;
        let hold = Hold {
            class,
            network,
            work,
        };
        Some((hold, job))
    }

    /// Releases a lane that [`ClassQueue::take`] assigned, of whose work this much was not done.
    pub fn release(&mut self, hold: Hold<K>, undone: u64) {
        let lot = self.lot_mut(hold.class);
        lot.held.jobs = lot.held.jobs.saturating_sub(1);
        lot.held.work = lot.held.work.saturating_sub(hold.work);
        let refund = lot.charge(undone.min(hold.work));
        lot.clock = lot.clock.saturating_sub(refund);
        lot.queue.release(hold.network);
    }

    /// The jobs that would get a lane before a new one of this class, network and work. Until then
    /// every other class has the lane time that its weight allows beside that of this one.
    pub fn ahead(&self, class: Class, network: K, work: u64) -> Load {
        let own = self.lot(class);
        let mut ahead = Load::of(own.queue.jobs_ahead(network));
        let turns = ahead.work + work;
        for other in Class::ALL.into_iter().filter(|other| *other != class) {
            let other = self.lot(other);
            let all = Load::of(other.queue.jobs());
            if let Some(mean) = all.mean() {
                let most = (turns * u64::from(other.weight)).div_ceil(mean * u64::from(own.weight));
                let jobs = usize::try_from(most).unwrap_or(usize::MAX).min(all.jobs);
                ahead.jobs += jobs;
                ahead.work += mean * jobs as u64;
            }
        }
        ahead
    }

    /// The lanes that are held, with their work.
    pub fn held(&self) -> Load {
        let held = self.lots.iter().map(|lot| lot.held);
        held.fold(Load::default(), |sum, held| sum + held)
    }

    /// Drops the jobs that `keep` rejects. Each network keeps its turn.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        for lot in &mut self.lots {
            lot.queue.retain(|piece| keep(&mut piece.job));
        }
    }

    /// The oldest job of each waiting network of each class.
    pub fn oldest(&self) -> impl Iterator<Item = &T> {
        let pieces = self.lots.iter().flat_map(|lot| lot.queue.oldest());
        pieces.map(|piece| &piece.job)
    }

    /// The lanes that a class may hold before others have theirs. What is left of them, and what a
    /// class does not want, is assigned by the clocks.
    fn lanes_of(&self, lot: &Lot<K, T>) -> usize {
        self.lanes * whole(lot.weight) / self.weights
    }

    /// The places that a class does not lose to others: at least one.
    fn places_of(&self, lot: &Lot<K, T>) -> usize {
        (self.places * whole(lot.weight) / self.weights).max(1)
    }

    const fn lot(&self, class: Class) -> &Lot<K, T> {
        &self.lots[class as usize]
    }

    const fn lot_mut(&mut self, class: Class) -> &mut Lot<K, T> {
        &mut self.lots[class as usize]
    }
}

impl<K, T> Lot<K, T> {
    /// By how much this much work moves the clock.
    fn charge(&self, work: u64) -> u128 {
        (u128::from(work) << FRACTION_BITS) / u128::from(self.weight)
    }
}

impl Load {
    fn of<'p, T: 'p>(pieces: impl Iterator<Item = &'p Piece<T>>) -> Self {
        pieces.fold(Self::default(), |sum, piece| {
            let one = Self {
                jobs: 1,
                work: piece.work,
            };
            sum + one
        })
    }

    /// The mean work of a job, at least 1; `None` without jobs.
    pub fn mean(self) -> Option<u64> {
        let mean = self.work.checked_div(self.jobs as u64)?;
        Some(mean.max(1))
    }
}

impl std::ops::Add for Load {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            jobs: self.jobs + other.jobs,
            work: self.work + other.work,
        }
    }
}

const fn whole(weight: u32) -> usize {
    weight as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::class::NETWORK_PLACES;
    use super::Class::{Account, Known, Login, Signup};
    use super::*;

    /// A network's name, and the number of a job.
    type Queue = ClassQueue<u16, u32>;

    const SHARES: HashShares = HashShares {
        known: 3,
        login: 2,
        signup: 2,
        account: 1,
    };

    fn queue(places: usize, lanes: usize) -> Queue {
        Queue::new(places, lanes, SHARES)
    }

    /// Adds this many jobs, of as many networks.
    fn fill(queue: &mut Queue, class: Class, count: u16) {
        for network in 0..count {
            assert_eq!(queue.push(class, network, 1, 0), Ok(None));
        }
    }

    /// The classes of the jobs, in the order in which one lane after the other is assigned.
    fn served(queue: &mut Queue) -> Vec<Class> {
        let next = || {
            let (hold, _) = queue.take()?;
            queue.release(hold, 0);
            Some(hold.class)
        };
        std::iter::from_fn(next).collect()
    }

    fn counts(classes: &[Class]) -> [usize; CLASSES] {
        Class::ALL.map(|class| classes.iter().filter(|one| **one == class).count())
    }

    fn waiting(queue: &Queue) -> [usize; CLASSES] {
        Class::ALL.map(|class| queue.lot(class).queue.len())
    }

    #[test]
    fn a_lone_class_may_use_everything() {
        for class in Class::ALL {
            let mut queue = queue(8, 8);
            fill(&mut queue, class, 8);
            assert_eq!(queue.place(class, 9), Admission::Full);
            while queue.take().is_some() {}
            assert_eq!(queue.held(), Load { jobs: 8, work: 8 });
            assert!(queue.is_empty());
        }
    }

    #[test]
    fn lanes_in_use_follow_the_weights() {
        let mut queue = queue(100, 8);
        // Logins hold every lane before the others come.
        fill(&mut queue, Login, 20);
        let mut in_use: Vec<_> = (0..8).filter_map(|_| queue.take()).collect();
        for class in [Known, Signup, Account] {
            fill(&mut queue, class, 20);
        }
        // Each lane that ends goes to a class that has less than its share.
        for _ in 0..6 {
            let (hold, _) = in_use.remove(0);
            assert_eq!(hold.class, Login);
            queue.release(hold, 0);
            in_use.extend(queue.take());
        }
        let classes: Vec<Class> = in_use.iter().map(|(hold, _)| hold.class).collect();
        assert_eq!(counts(&classes), [3, 2, 2, 1]);
        // And then stays with its class.
        for _ in 0..20 {
            let (hold, _) = in_use.remove(3);
            queue.release(hold, 0);
            let next = queue.take().expect("a job");
            assert_eq!(next.0.class, hold.class);
            in_use.push(next);
        }
    }

    #[test]
    fn one_lane_is_shared_in_time() {
        let mut queue = queue(200, 1);
        for class in Class::ALL {
            fill(&mut queue, class, 32);
        }
        let order = served(&mut queue);
        assert_eq!(order[..4], [Known, Login, Signup, Account]);
        for round in order[..64].chunks(8) {
            assert_eq!(counts(round), [3, 2, 2, 1], "{round:?}");
        }
        assert_eq!(order.len(), 4 * 32);
    }

    #[test]
    fn a_class_pays_for_the_work_of_its_jobs() {
        let mut queue = queue(100, 1);
        fill(&mut queue, Login, 30);
        for network in 0..10 {
            assert_eq!(queue.push(Signup, network, 4, 0), Ok(None));
        }
        // The same weight: one job of four times the work for four.
        let order = served(&mut queue);
        assert_eq!(counts(&order[..20]), [0, 16, 4, 0], "{order:?}");
    }

    #[test]
    fn a_known_device_comes_before_waiting_logins() {
        let mut queue = queue(100, 1);
        fill(&mut queue, Login, 20);
        for _ in 0..7 {
            let (hold, _) = queue.take().expect("a job");
            assert_eq!(hold.class, Login);
            queue.release(hold, 0);
        }
        fill(&mut queue, Known, 1);
        assert_eq!(served(&mut queue)[0], Known);
    }

    #[test]
    fn a_class_saves_up_nothing_while_it_is_idle() {
        let mut queue = queue(100, 1);
        fill(&mut queue, Signup, 60);
        for _ in 0..40 {
            let (hold, _) = queue.take().expect("a job");
            queue.release(hold, 0);
        }
        fill(&mut queue, Login, 20);
        let order = served(&mut queue);
        let [_, logins, signups, _] = counts(&order[..20]);
        assert!(logins.abs_diff(signups) <= 2, "{order:?}");
    }

    #[test]
    fn a_class_pays_only_for_the_work_that_was_done() {
        let mut queue = queue(200, 1);
        fill(&mut queue, Signup, 60);
        for network in 0..60 {
            assert_eq!(queue.push(Login, network, 10, 0), Ok(None));
        }
        let mut work = [0; CLASSES];
        for _ in 0..50 {
            let (hold, _) = queue.take().expect("a job");
            // Clients of logins leave after a tenth.
            let undone = if hold.class == Login { 9 } else { 0 };
            work[hold.class as usize] += hold.work - undone;
            queue.release(hold, undone);
        }
        assert!(
            work[Login as usize].abs_diff(work[Signup as usize]) <= 1,
            "{work:?}"
        );
    }

    #[test]
    fn a_place_is_lost_by_the_class_that_holds_most_beyond_its_share() {
        let mut queue = queue(8, 1);
        fill(&mut queue, Signup, 4);
        assert_eq!(queue.push(Signup, 1, 1, 77), Ok(None));
        fill(&mut queue, Account, 3);
        // Signup holds 5 of 2, account 3 of 1. Of signup, network 1 has most.
        assert_eq!(queue.place(Known, 1), Admission::Instead(Signup, 1));
        assert_eq!(queue.push(Known, 1, 1, 0), Ok(Some((Signup, 1, 77))));
        // Now both hold two too many. The one with the lower weight loses.
        assert_eq!(queue.push(Known, 2, 1, 0), Ok(Some((Account, 2, 0))));
        assert_eq!(queue.push(Known, 3, 1, 0), Ok(Some((Signup, 3, 0))));
        assert_eq!(waiting(&queue), [3, 0, 3, 2]);
        // It has its share.
        assert_eq!(queue.push(Known, 4, 1, 0), Err(Admission::Full));
        assert_eq!(queue.push(Signup, 4, 1, 0), Err(Admission::Full));
        fill(&mut queue, Login, 0);
        assert_eq!(queue.push(Login, 1, 1, 0), Ok(Some((Account, 1, 0))));
        assert_eq!(queue.push(Login, 2, 1, 0), Ok(Some((Signup, 2, 0))));
        assert_eq!(queue.push(Login, 3, 1, 0), Err(Admission::Full));
        assert_eq!(waiting(&queue), [3, 2, 2, 1]);
        // The places are not less than one for each.
        for class in Class::ALL {
            let mut queue = self::queue(2, 1);
            fill(&mut queue, if class == Signup { Login } else { Signup }, 2);
            assert!(matches!(queue.place(class, 1), Admission::Instead(..)));
        }
    }

    #[test]
    fn within_its_share_a_class_is_divided_by_networks() {
        let mut queue = queue(8, 1);
        fill(&mut queue, Known, 6);
        assert_eq!(queue.push(Signup, 1, 1, 0), Ok(None));
        assert_eq!(queue.push(Signup, 1, 1, 1), Ok(None));
        // Both are at their share or beyond.
        assert_eq!(queue.push(Signup, 2, 1, 2), Ok(Some((Signup, 1, 1))));
        assert_eq!(queue.push(Signup, 3, 1, 3), Err(Admission::Full));
        assert_eq!(waiting(&queue), [6, 0, 2, 0]);
    }

    #[test]
    fn a_network_has_eight_places_for_logins_even_alone() {
        for class in Class::ALL {
            let mut queue = queue(100, 1);
            for _ in 0..NETWORK_PLACES {
                assert_eq!(queue.push(class, 1, 1, 0), Ok(None));
            }
            let is_login = [Known, Login].contains(&class);
            let ninth = queue.push(class, 1, 1, 0);
            assert_eq!(ninth == Err(Admission::NetworkFull), is_login, "{class:?}");
            assert_eq!(queue.push(class, 2, 1, 0), Ok(None));
            // A lane is no place.
            queue.take().expect("a job");
            assert_eq!(queue.place(class, 1), Admission::Free);
        }
    }

    #[test]
    fn what_is_ahead_follows_the_weights() {
        let mut queue = queue(1000, 1);
        assert_eq!(queue.ahead(Known, 1, 1), Load::default());
        fill(&mut queue, Login, 60);
        // Alone, as without classes.
        assert_eq!(queue.ahead(Login, 1, 1), Load { jobs: 60, work: 60 });
        // Until a third of its three turns, not more than one login.
        assert_eq!(queue.ahead(Known, 1, 1), Load { jobs: 1, work: 1 });
        assert_eq!(queue.ahead(Account, 1, 1), Load { jobs: 2, work: 2 });
        fill(&mut queue, Signup, 9);
        // As many logins, and one.
        assert_eq!(
            queue.ahead(Signup, 9, 1),
            Load {
                jobs: 9 + 10,
                work: 19
            }
        );
        assert_eq!(
            queue.ahead(Login, 1, 1),
            Load {
                jobs: 60 + 9,
                work: 69
            }
        );
        // A job of more work has to wait for as much of the others'.
        assert_eq!(
            queue.ahead(Known, 1, 6),
            Load {
                jobs: 4 + 4,
                work: 8
            }
        );
        for network in 0..9 {
            assert_eq!(queue.push(Account, network, 16, 0), Ok(None));
        }
        assert_eq!(
            queue.ahead(Known, 1, 1),
            Load {
                jobs: 3,
                work: 2 + 16
            }
        );
        assert_eq!(
            queue.ahead(Known, 1, 96),
            Load {
                jobs: 60 + 9 + 2,
                work: 69 + 32
            }
        );
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(usize, u16),
        Take,
        /// Releases the lane that was taken this many takes ago, with this much undone.
        Release(usize, u64),
        /// Clients disconnect: the jobs whose number this divides.
        Leave(u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0..CLASSES, 0_u16..8).prop_map(|(class, network)| Step::Push(class, network)),
            // Logins from one network flood the queue, and signups from several.
            3 => Just(Step::Push(Login as usize, 0)),
            3 => (0_u16..4).prop_map(|network| Step::Push(Signup as usize, network)),
            5 => Just(Step::Take),
            5 => (0_usize..16, 0_u64..3).prop_map(|(at, undone)| Step::Release(at, undone)),
            1 => (2_u32..7).prop_map(Step::Leave),
        ];
        prop::collection::vec(step, 0..400)
    }

    fn shares() -> impl Strategy<Value = HashShares> {
        let weight = || 1_u32..6;
        (weight(), weight(), weight(), weight()).prop_map(|(known, login, signup, account)| {
            HashShares {
                known,
                login,
                signup,
                account,
            }
        })
    }

    proptest! {
        /// The model: a plain [`FairQueue`] for each class, and lists of waiting jobs and held
        /// lanes.
        #[test]
        fn it_keeps_its_bounds_its_order_and_its_guarantees(
            places in 1_usize..24,
            lanes in 1_usize..12,
            shares in shares(),
            steps in steps(),
        ) {
            let mut queue = Queue::new(places, lanes, shares);
            let mut models = Class::ALL.map(|_| FairQueue::<u16, u32>::new(places, lanes));
            let mut held: Vec<Hold<u16>> = Vec::new();
            let sum: u32 = Class::ALL.iter().map(|class| class.weight(shares)).sum();
            let part = |class: Class, all: usize| all * class.weight(shares) as usize / sum as usize;
            for (number, step) in (0_u32..).zip(steps) {
                let waiting: usize = models.iter().map(FairQueue::len).sum();
                match step {
                    Step::Push(at, network) => {
                        let class = Class::ALL[at];
                        let own = models[at].len();
                        let of_network = models[at].waiting_of(network);
                        let has_share = own >= part(class, places).max(1);
                        let excess = |class: Class| {
                            let share = part(class, places).max(1);
                            models[class as usize].len().saturating_sub(share)
                        };
                        let most = Class::ALL.into_iter().map(excess).max().unwrap_or(0);
                        let largest = models[at].largest().map_or(0, |(_, count)| count);
                        let expected = queue.place(class, network);
                        let pushed = queue.push(class, network, u64::from(number % 5), number);
                        match pushed {
                            Ok(None) => {
                                prop_assert_eq!(expected, Admission::Free);
                                prop_assert!(waiting < places);
                            }
                            Ok(Some((loser, its_network, displaced))) => {
                                prop_assert_eq!(expected, Admission::Instead(loser, its_network));
                                prop_assert_eq!(waiting, places);
                                if loser == class {
                                    prop_assert!(has_share || most == 0);
                                    prop_assert!(largest > of_network + 1);
                                } else {
                                    prop_assert!(!has_share && most > 0);
                                    prop_assert_eq!(excess(loser), most);
                                }
                                // The newest of its network with most.
                                let gone = models[loser as usize].pop_of_largest();
                                prop_assert_eq!(gone, Some((its_network, displaced)));
                            }
                            Err(refused) => {
                                prop_assert_eq!(expected, refused);
                                match refused {
                                    Admission::NetworkFull => {
                                        prop_assert!([Known, Login].contains(&class));
                                        prop_assert_eq!(of_network, NETWORK_PLACES);
                                    }
                                    Admission::ShareUsed => {
                                        prop_assert!(of_network < own && of_network >= places / 4);
                                    }
                                    _ => {
                                        prop_assert_eq!(waiting, places);
                                        prop_assert!(has_share || most == 0);
                                        prop_assert!(largest <= of_network + 1);
                                    }
                                }
                                continue;
                            }
                        }
                        models[at].append(network, number);
                    }
                    Step::Take if held.len() < lanes => {
                        let has_less = |class: Class| {
                            let lanes_of = held.iter().filter(|hold| hold.class == class).count();
                            lanes_of < part(class, lanes)
                        };
                        let waits = |class: Class| !models[class as usize].is_empty();
                        let any_has_less = Class::ALL.into_iter().any(|it| waits(it) && has_less(it));
                        let Some((hold, job)) = queue.take() else {
                            prop_assert_eq!(waiting, 0, "work is left undone");
                            continue;
                        };
                        prop_assert_eq!(has_less(hold.class), any_has_less);
                        let expected = models[hold.class as usize].take();
                        prop_assert_eq!(expected, Some((hold.network, job)), "in the class's order");
                        prop_assert_eq!(hold.work, u64::from(job % 5));
                        held.push(hold);
                    }
                    Step::Release(at, undone) if at < held.len() => {
                        let hold = held.remove(at);
                        queue.release(hold, undone);
                        models[hold.class as usize].release(hold.network);
                    }
                    Step::Take | Step::Release(..) => {}
                    Step::Leave(divisor) => {
                        queue.retain(|job| *job % divisor != 0);
                        for model in &mut models {
                            model.retain(|job| *job % divisor != 0);
                        }
                    }
                }
                let load = Load {
                    jobs: held.len(),
                    work: held.iter().map(|hold| hold.work).sum(),
                };
                prop_assert_eq!(queue.held(), load);
                let waiting: usize = models.iter().map(FairQueue::len).sum();
                prop_assert_eq!(queue.len(), waiting);
                prop_assert_eq!(queue.is_empty(), waiting == 0);
                prop_assert!(waiting <= places);
                for class in Class::ALL {
                    let (lot, model) = (queue.lot(class), &models[class as usize]);
                    prop_assert_eq!(lot.queue.len(), model.len());
                    prop_assert_eq!(lot.queue.networks(), model.networks());
                    // What a class owes, or is owed while it waits, is bounded.
                    let most = lot.charge(4) * lanes as u128;
                    prop_assert!(lot.clock <= queue.now + most, "{:?}", class);
                    prop_assert!(lot.queue.is_empty() || queue.now <= lot.clock + most, "{:?}", class);
                }
                let oldest = models.iter().flat_map(FairQueue::oldest);
                prop_assert!(queue.oldest().eq(oldest));
            }
        }
    }

    /// How a class behaves in a simulation.
    #[derive(Debug, Clone)]
    struct Habit {
        /// Whether it always has jobs waiting; else now and then.
        always: bool,
        /// The ticks that each of its jobs takes.
        work: u64,
        /// The tick at which its clients leave, before the end of the job.
        leave: u64,
    }

    fn habit() -> impl Strategy<Value = Habit> {
        (any::<bool>(), 1_u64..6, 1_u64..20).prop_map(|(always, work, leave)| Habit {
            always,
            work,
            leave,
        })
    }

    proptest! {
        /// No starvation: while a class waits, its lane time follows its weight, whatever the others
        /// do.
        #[test]
        fn a_class_that_waits_has_its_share_of_lane_time(
            lanes in 1_usize..20,
            shares in shares(),
            habits in prop::collection::vec(habit(), CLASSES),
            sometimes in prop::collection::vec((0..CLASSES, 1_usize..10), 1..40),
        ) {
            const TICKS: u64 = 600;
            let mut queue = Queue::new(10_000, lanes, shares);
            let mut network = 0;
            let mut sometimes = sometimes.iter().cycle();
            // Each with the ticks that it has left until it ends, or its client leaves.
            let mut held: Vec<(Hold<u16>, u64)> = Vec::new();
            let mut time = [0; CLASSES];
            let mut windows: Vec<[usize; CLASSES]> = Vec::new();
            let mut push = |queue: &mut Queue, class: Class| {
                network = (network + 1) % 5_000;
                let work = habits[class as usize].work;
                queue.push(class, network, work, 0).map(|_| ())
            };
            for tick in 0..TICKS {
                for class in Class::ALL.into_iter().filter(|it| habits[*it as usize].always) {
                    while queue.lot(class).queue.len() <= lanes {
                        prop_assert_eq!(push(&mut queue, class), Ok(()));
                    }
                }
                let (at, count) = sometimes.next().expect("endless");
                if !habits[*at].always && queue.lot(Class::ALL[*at]).queue.len() < 100 {
                    for _ in 0..*count {
                        prop_assert_eq!(push(&mut queue, Class::ALL[*at]), Ok(()));
                    }
                }
                while held.len() < lanes && let Some((hold, _)) = queue.take() {
                    let habit = &habits[hold.class as usize];
                    held.push((hold, habit.work.min(habit.leave)));
                }
                let mut left = Vec::new();
                for (hold, ticks) in held.drain(..) {
                    time[hold.class as usize] += 1;
                    if ticks > 1 {
                        left.push((hold, ticks - 1));
                    } else {
                        let habit = &habits[hold.class as usize];
                        queue.release(hold, habit.work.saturating_sub(habit.leave));
                    }
                }
                held = left;
                if (tick + 1) % (TICKS / 3) == 0 {
                    windows.push(std::mem::take(&mut time));
                }
            }
            let sum: u32 = Class::ALL.iter().map(|class| class.weight(shares)).sum();
            for window in windows {
                for class in Class::ALL.into_iter().filter(|it| habits[*it as usize].always) {
                    let all = usize::try_from(TICKS / 3).expect("few") * lanes;
                    let share = all * class.weight(shares) as usize / sum as usize;
                    // What is in the lanes at either end, with jobs of the most work.
                    let slack = 2 * 5 * (lanes + 1);
                    let had = window[class as usize];
                    prop_assert!(had + slack >= share, "{:?}: {} of {}: {:?}", class, had, share, window);
                }
            }
        }
    }

    #[test]
    fn the_labels_of_the_classes_differ() {
        let labels: BTreeMap<&str, Class> = Class::ALL.map(|it| (it.label(), it)).into();
        assert_eq!(labels.len(), CLASSES);
        for (at, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class as usize, at);
        }
    }
}
