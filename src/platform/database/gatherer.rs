//! Decides which reads share a statement.
//!
//! Reads that arrive while a statement is under way wait, and go out together in the next one. So a
//! read is never part of a statement that began before it arrived: it sees every commit that was
//! acknowledged before it was sent.

use std::collections::VecDeque;

use super::point_reads::{MAX_TOGETHER, MAX_WAITING};

/// Statements that may be under way before reads wait for each other. With one, most reads share a
/// statement; a second one made no load faster.
const MAX_UNDER_WAY: usize = 1;

/// A read that waits.
pub(super) trait Waiting {
    /// Whether its caller has left.
    fn has_left(&self) -> bool;
}

/// The reads by one key that wait, and the number of statements under way.
pub(super) struct Gatherer<R> {
    waiting: VecDeque<R>,
    under_way: usize,
}

/// More reads wait than are allowed to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IsFull;

impl<R: Waiting> Gatherer<R> {
    pub const fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            under_way: 0,
        }
    }

    /// Adds a read. Returns the reads of a statement that begins now, if one does; the caller
    /// reports its end by [`Self::ended`].
    pub fn arrived(&mut self, read: R) -> Result<Option<Vec<R>>, IsFull> {
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.retain(|read| !read.has_left());
            if self.waiting.len() >= MAX_WAITING {
                return Err(IsFull);
            }
        }
        self.waiting.push_back(read);
        Ok(self.next())
    }

    /// A statement ended, or is not waited for any more. Returns the reads of the next one, as
    /// [`Self::arrived`] does.
    pub fn ended(&mut self) -> Option<Vec<R>> {
        self.under_way -= 1;
        self.next()
    }

    /// The reads that have waited for longest and whose callers still wait.
    fn next(&mut self) -> Option<Vec<R>> {
        if self.under_way >= MAX_UNDER_WAY {
            return None;
        }
        let mut together = Vec::new();
        while together.len() < MAX_TOGETHER
            && let Some(read) = self.waiting.pop_front()
        {
            if !read.has_left() {
                together.push(read);
            }
        }
        if together.is_empty() {
            return None;
        }
        self.under_way += 1;
        Some(together)
    }
}
