//! Turns: work with the same key is done by one after the other, in this process.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The keys with work under way. There are at most as many as there are requests.
pub struct Turns<K> {
    keys: Mutex<HashMap<K, Arc<Semaphore>>>,
}

/// A turn. When it is dropped, the next one of the key begins.
pub struct Turn<K: Copy + Eq + Hash> {
    turns: Arc<Turns<K>>,
    key: K,
    permit: Option<OwnedSemaphorePermit>,
    /// Held by each that waits, so that the entry stays for them.
    semaphore: Option<Arc<Semaphore>>,
    /// Whether another turn was before it.
    pub has_waited: bool,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self {
            keys: Mutex::default(),
        }
    }
}

impl<K: Copy + Eq + Hash> Turns<K> {
    /// Begins a turn, once the one before it has ended; `None` if that takes longer than `wait`.
    pub async fn take(self: &Arc<Self>, key: K, wait: Duration) -> Option<Turn<K>> {
        let semaphore = {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            let one = || Arc::new(Semaphore::new(1));
            Arc::clone(keys.entry(key).or_insert_with(one))
        };
        let mut turn = Turn {
            turns: Arc::clone(self),
            key,
            permit: None,
            semaphore: Some(Arc::clone(&semaphore)),
            has_waited: false,
        };
        if let Ok(permit) = Arc::clone(&semaphore).try_acquire_owned() {
            turn.permit = Some(permit);
            return Some(turn);
        }
        turn.has_waited = true;
        let permit = tokio::time::timeout(wait, semaphore.acquire_owned()).await;
        turn.permit = Some(permit.ok()?.ok()?);
        Some(turn)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.keys.lock().expect("no panic").len()
    }
}

impl<K: Copy + Eq + Hash> Drop for Turn<K> {
    fn drop(&mut self) {
        let keys = &self.turns.keys;
        let mut keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
        self.permit = None;
        self.semaphore = None;
        let is_last = |semaphore: &Arc<Semaphore>| Arc::strong_count(semaphore) == 1;
        if keys.get(&self.key).is_some_and(is_last) {
            keys.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const WAIT: Duration = Duration::from_secs(2);

    #[tokio::test]
    async fn turns_of_a_key_are_one_after_the_other_and_leave_nothing() {
        let turns = Arc::new(Turns::default());
        let first = turns.take([1; 32], WAIT).await.expect("it is free");
        let other = turns.take([2; 32], WAIT).await.expect("it is free");
        let mut second = Box::pin(turns.take([1; 32], WAIT));
        assert!((&mut second).now_or_never().is_none(), "it waits");
        let short = Duration::from_millis(1);
        assert!(
            turns.take([1; 32], short).await.is_none(),
            "it waited too long"
        );
        drop(first);
        assert!(second.await.is_some());
        drop(other);
        assert_eq!(turns.len(), 0);
    }

    #[tokio::test]
    async fn one_that_leaves_costs_the_others_nothing() {
        let turns = Arc::new(Turns::default());
        let first = turns.take([1; 32], WAIT).await.expect("it is free");
        let mut leaver = Box::pin(turns.take([1; 32], WAIT));
        assert!((&mut leaver).now_or_never().is_none());
        drop(leaver);
        drop(first);
        assert_eq!(turns.len(), 0);
        assert!(turns.take([1; 32], WAIT).await.is_some());
        assert_eq!(turns.len(), 0);
    }
}
