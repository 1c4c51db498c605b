//! Decides which reads share a statement.
//!
//! Reads that arrive before a statement begins are part of it; those that arrive while it is under
//! way wait, and go out together in the next one. So a read is never part of a statement that began
//! before it arrived: it sees every commit that was acknowledged before it was sent.

use std::collections::VecDeque;

/// Statements that may be under way before reads wait for each other. With one, most reads share a
/// statement; a second one made no load faster.
const MAX_UNDER_WAY: usize = 1;

/// A read that waits.
pub(super) trait Waiting {
    /// Whether its caller has left.
    fn has_left(&self) -> bool;
}

/// Statements that may take too long at the same time. Then reads wait for them after all.
pub(super) const MAX_OVERDUE: usize = 8;

/// The reads by one key that wait, and the number of statements under way.
pub(super) struct Gatherer<R> {
    waiting: VecDeque<R>,
    /// Statements that reads wait for.
    under_way: usize,
    /// Statements that take too long: reads do not wait for them any more.
    overdue: usize,
    max_together: usize,
    max_waiting: usize,
}

/// More reads wait than are allowed to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IsFull;

impl<R: Waiting> Gatherer<R> {
    /// At most `max_together` reads share a statement, and at most `max_waiting` wait.
    pub const fn new(max_together: usize, max_waiting: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            under_way: 0,
            overdue: 0,
            max_together,
            max_waiting,
        }
    }

    /// Adds a read. Returns the reads of a statement that is to begin, if one is. The caller reports
    /// when it begins, by [`Self::begins`], when it ended, by [`Self::ended`], and between them, by
    /// [`Self::is_overdue`], that it takes too long.
    pub fn arrived(&mut self, read: R) -> Result<Option<Vec<R>>, IsFull> {
        if self.waiting.len() >= self.max_waiting {
            self.waiting.retain(|read| !read.has_left());
            if self.waiting.len() >= self.max_waiting {
                return Err(IsFull);
            }
        }
        self.waiting.push_back(read);
        Ok(self.next())
    }

    /// A statement ended. Returns the reads of the next one, as [`Self::arrived`] does.
    pub fn ended(&mut self, was_overdue: bool) -> Option<Vec<R>> {
        let count = if was_overdue {
            &mut self.overdue
        } else {
            &mut self.under_way
        };
        *count = count.saturating_sub(1);
        self.next()
    }

    /// A statement takes too long. Returns whether reads do not wait for it any more, and the reads
    /// of the next one, as [`Self::arrived`] does.
    pub fn is_overdue(&mut self) -> (bool, Option<Vec<R>>) {
        if self.overdue == MAX_OVERDUE {
            return (false, None);
        }
        self.overdue += 1;
        self.under_way = self.under_way.saturating_sub(1);
        (true, self.next())
    }

    /// The statement for these reads begins now: those that arrived meanwhile join it, and those
    /// whose callers left are not part of it.
    pub fn begins(&mut self, together: &mut Vec<R>) {
        together.retain(|read| !read.has_left());
        self.join(together);
    }

    /// A planted bug: the reads that wait and join a statement under way.
    #[cfg(feature = "faults")]
    pub fn joining(&mut self, joins: impl Fn(&R) -> bool) -> Vec<R> {
        let waiting = std::mem::take(&mut self.waiting);
        let (joining, waiting) = waiting.into_iter().partition(|read| joins(read));
        self.waiting = waiting;
        Vec::from_iter::<VecDeque<R>>(joining)
    }

    /// The reads that have waited for longest and whose callers still wait.
    fn next(&mut self) -> Option<Vec<R>> {
        if self.under_way >= MAX_UNDER_WAY {
            return None;
        }
        let mut together = Vec::new();
        self.join(&mut together);
        if together.is_empty() {
            return None;
        }
        self.under_way += 1;
        Some(together)
    }

    fn join(&mut self, together: &mut Vec<R>) {
        while together.len() < self.max_together
            && let Some(read) = self.waiting.pop_front()
        {
            if !read.has_left() {
                together.push(read);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use proptest::prelude::*;

    use super::*;

    const TOGETHER: usize = 2;
    const WAITING: usize = 3;

    /// What happens to a gatherer. A deadline that passes is a caller that leaves; a statement that
    /// fails, panics or is cancelled is one that ended.
    #[derive(Debug, Clone, Copy)]
    enum Event {
        Arrives,
        Leaves(usize),
        Begins,
        Ended,
        IsOverdue,
        OverdueEnded,
    }

    #[derive(Clone)]
    struct Read {
        number: usize,
        left: Rc<Cell<bool>>,
    }

    impl Waiting for Read {
        fn has_left(&self) -> bool {
            self.left.get()
        }
    }

    /// A gatherer, and what must be true of it.
    struct Model {
        gatherer: Gatherer<Read>,
        reads: Vec<Read>,
        /// The reads that were neither refused nor asked for, in order; also those that left.
        waiting: Vec<usize>,
        /// The reads of a statement that is to begin.
        ready: Option<Vec<Read>>,
        under_way: usize,
        overdue: usize,
        /// The reads that were part of a statement, with those that left before.
        served: Vec<usize>,
        /// The reads of statements that were cancelled before they began.
        cancelled: Vec<usize>,
    }

    impl Model {
        fn new() -> Self {
            Self {
                gatherer: Gatherer::new(TOGETHER, WAITING),
                reads: Vec::new(),
                waiting: Vec::new(),
                ready: None,
                under_way: 0,
                overdue: 0,
                served: Vec::new(),
                cancelled: Vec::new(),
            }
        }

        /// Whether this can happen now.
        fn allows(&self, event: Event) -> bool {
            match event {
                Event::Arrives => true,
                Event::Leaves(number) => {
                    self.reads.get(number).is_some_and(|read| !read.left.get())
                }
                Event::Begins => self.ready.is_some(),
                // It also ends without having begun, when its task is cancelled.
                Event::Ended => self.under_way > 0,
                Event::IsOverdue => self.under_way > 0 && self.ready.is_none(),
                Event::OverdueEnded => self.overdue > 0,
            }
        }

        fn apply(&mut self, event: Event) {
            match event {
                Event::Leaves(number) => self.reads[number].left.set(true),
                Event::Arrives => {
                    let read = Read {
                        number: self.reads.len(),
                        left: Rc::default(),
                    };
                    self.reads.push(read.clone());
                    let present = self.present();
                    match self.gatherer.arrived(read.clone()) {
                        Err(IsFull) => {
                            assert_eq!(present.len(), WAITING, "refused, though few wait");
                            read.left.set(true);
                        }
                        Ok(begun) => {
                            assert!(present.len() < WAITING, "too many wait");
                            self.waiting.push(read.number);
                            self.is_ready(begun);
                        }
                    }
                }
                Event::Begins => {
                    let mut together = self.ready.take().expect("reads");
                    let mut all = numbers(&together);
                    all.retain(|number| !self.reads[*number].left.get());
                    all.extend(self.present());
                    all.truncate(TOGETHER);
                    self.gatherer.begins(&mut together);
                    assert_eq!(numbers(&together), all, "in order, each once");
                    self.waiting.retain(|number| !all.contains(number));
                    self.served.extend(all);
                }
                Event::Ended => {
                    self.cancelled
                        .extend(numbers(&self.ready.take().unwrap_or_default()));
                    self.under_way -= 1;
                    let begun = self.gatherer.ended(false);
                    self.is_ready(begun);
                }
                Event::OverdueEnded => {
                    self.overdue -= 1;
                    let begun = self.gatherer.ended(true);
                    self.is_ready(begun);
                }
                Event::IsOverdue => {
                    let (is_left, begun) = self.gatherer.is_overdue();
                    assert_eq!(is_left, self.overdue < MAX_OVERDUE);
                    if is_left {
                        self.under_way -= 1;
                        self.overdue += 1;
                    }
                    self.is_ready(begun);
                }
            }
            assert!(self.under_way <= MAX_UNDER_WAY);
            // No read is stranded: a statement is under way as long as reads wait.
            assert!(self.under_way > 0 || self.present().is_empty());
        }

        /// The reads that wait and whose callers have not left.
        fn present(&self) -> Vec<usize> {
            let waiting = self.waiting.iter().copied();
            waiting
                .filter(|number| !self.reads[*number].left.get())
                .collect()
        }

        /// A statement is to begin, with the reads that waited for longest.
        fn is_ready(&mut self, begun: Option<Vec<Read>>) {
            let Some(together) = begun else {
                return;
            };
            assert!(self.ready.is_none(), "one begins at a time");
            let mut first = self.present();
            first.truncate(TOGETHER);
            assert_eq!(numbers(&together), first, "in order, each once");
            assert!(!first.is_empty());
            self.waiting.retain(|number| !first.contains(number));
            self.ready = Some(together);
            self.under_way += 1;
        }
    }

    fn numbers(together: &[Read]) -> Vec<usize> {
        together.iter().map(|read| read.number).collect()
    }

    /// Every order of events, up to a length.
    fn continue_with(events: &mut Vec<Event>, length: usize, orders: &mut usize) {
        let mut model = Model::new();
        for event in &*events {
            model.apply(*event);
        }
        *orders += 1;
        if events.len() == length {
            return;
        }
        let leaving = (0..model.reads.len()).map(Event::Leaves);
        let others = [
            Event::Arrives,
            Event::Begins,
            Event::Ended,
            Event::IsOverdue,
            Event::OverdueEnded,
        ];
        for event in others.into_iter().chain(leaving) {
            if model.allows(event) {
                events.push(event);
                continue_with(events, length, orders);
                events.pop();
            }
        }
    }

    /// Threads meet at the lock around a gatherer, so that every event is one step: these are all
    /// ways in which they can interleave.
    #[test]
    fn every_order_of_arrivals_departures_and_ends_serves_every_read() {
        let mut orders = 0;
        continue_with(&mut Vec::new(), 9, &mut orders);
        assert!(orders > 50_000, "{orders}");
    }

    /// Reads wait again when too many statements are slow.
    #[test]
    fn only_so_many_statements_are_not_waited_for() {
        let mut model = Model::new();
        for slow in 0..=MAX_OVERDUE {
            for event in [Event::Arrives, Event::Begins, Event::IsOverdue] {
                assert!(model.allows(event), "{event:?} of {slow}");
                model.apply(event);
            }
        }
        assert_eq!((model.overdue, model.under_way), (MAX_OVERDUE, 1));
        model.apply(Event::Arrives);
        assert_eq!(model.present().len(), 1, "it waits");
        model.apply(Event::OverdueEnded);
        model.apply(Event::IsOverdue);
        assert!(model.present().is_empty());
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            5 => Just(Event::Arrives),
            2 => (0_usize..64).prop_map(Event::Leaves),
            5 => Just(Event::Begins),
            2 => Just(Event::Ended),
            4 => Just(Event::IsOverdue),
            1 => Just(Event::OverdueEnded),
        ]
    }

    proptest! {
        #[test]
        fn long_histories_serve_every_read(events in prop::collection::vec(event(), 0..200)) {
            let mut model = Model::new();
            for event in events {
                if model.allows(event) {
                    model.apply(event);
                }
            }
            // In the end every statement ends, and no read waits any more.
            while model.overdue > 0 {
                model.apply(Event::OverdueEnded);
            }
            while model.under_way > 0 {
                if model.ready.is_some() {
                    model.apply(Event::Begins);
                }
                model.apply(Event::Ended);
            }
            prop_assert!(model.present().is_empty());
            for read in &model.reads {
                let times = [&model.served, &model.cancelled]
                    .map(|reads| reads.iter().filter(|number| **number == read.number).count());
                prop_assert!(times.iter().sum::<usize>() <= 1, "{} twice", read.number);
                prop_assert!(read.left.get() || times != [0, 0], "{} is stranded", read.number);
            }
        }
    }
}
