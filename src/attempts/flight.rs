//! One attempt per subject at a time: otherwise many guesses at once would all pass the throttle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::platform::limits::{Bound, Limit};
use crate::tokens::secrets::Mac;

/// How long an attempt waits for the one before it.
pub const WAIT: Duration = Duration::from_secs(2);

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[Limit {
    what: "Wait for another login of the same address",
    bound: Bound::Time(WAIT),
    effect: "429 `login-throttled`",
}];

/// The subjects with an attempt under way. There are at most as many as there are requests.
#[derive(Default)]
pub struct Flights {
    subjects: Mutex<HashMap<Mac, Arc<Semaphore>>>,
}

/// An attempt under way. When it is dropped, the next one of the subject begins.
pub struct Flight {
    flights: Arc<Flights>,
    subject: Mac,
    permit: Option<OwnedSemaphorePermit>,
    /// Held by each that waits, so that the entry stays for them.
    semaphore: Option<Arc<Semaphore>>,
}

impl Flights {
    /// Begins an attempt, once the one before it has ended; `None` if that takes longer than `wait`.
    pub async fn enter(self: &Arc<Self>, subject: Mac, wait: Duration) -> Option<Flight> {
        let semaphore = {
            let mut subjects = self.subjects.lock().unwrap_or_else(PoisonError::into_inner);
            let one = || Arc::new(Semaphore::new(1));
            Arc::clone(subjects.entry(subject).or_insert_with(one))
        };
        let mut flight = Flight {
            flights: Arc::clone(self),
            subject,
            permit: None,
            semaphore: Some(Arc::clone(&semaphore)),
        };
        let permit = tokio::time::timeout(wait, semaphore.acquire_owned()).await;
        flight.permit = Some(permit.ok()?.ok()?);
        Some(flight)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.subjects.lock().expect("no panic").len()
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let subjects = &self.flights.subjects;
        let mut subjects = subjects.lock().unwrap_or_else(PoisonError::into_inner);
        self.permit = None;
        self.semaphore = None;
        let is_last = |semaphore: &Arc<Semaphore>| Arc::strong_count(semaphore) == 1;
        if subjects.get(&self.subject).is_some_and(is_last) {
            subjects.remove(&self.subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn attempts_of_a_subject_are_one_after_the_other_and_leave_nothing() {
        let flights = Arc::new(Flights::default());
        let first = flights.enter([1; 32], WAIT).await.expect("it is free");
        let other = flights.enter([2; 32], WAIT).await.expect("it is free");
        let mut second = Box::pin(flights.enter([1; 32], WAIT));
        assert!((&mut second).now_or_never().is_none(), "it waits");
        let short = Duration::from_millis(1);
        assert!(
            flights.enter([1; 32], short).await.is_none(),
            "it waited too long"
        );
        drop(first);
        assert!(second.await.is_some());
        drop(other);
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn one_that_leaves_costs_the_others_nothing() {
        let flights = Arc::new(Flights::default());
        let first = flights.enter([1; 32], WAIT).await.expect("it is free");
        let mut leaver = Box::pin(flights.enter([1; 32], WAIT));
        assert!((&mut leaver).now_or_never().is_none());
        drop(leaver);
        drop(first);
        assert_eq!(flights.len(), 0);
        assert!(flights.enter([1; 32], WAIT).await.is_some());
        assert_eq!(flights.len(), 0);
    }
}
