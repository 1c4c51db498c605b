//! Sends HTTP/1.1 requests at a chosen load and measures response times.
//!
//! [`closed_loop`] keeps a number of connections busy: each sends its next request when it has the response to the
//! last. [`open_loop`] sends at a rate, however slow the responses are; its times count from when a request was due,
//! so that a stalling service can't hide it.
//!
//! It is small on purpose: it shares the machine with the service it measures.

mod connection;
mod outcome;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::{JoinSet, LocalSet};

pub use connection::{Connection, Response, Target};
pub use outcome::{Outcome, TimedResponse};

/// The time limit of a request.
const LIMIT: Duration = Duration::from_mins(1);

/// The duration of a load.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Requests that end in this time do not count.
    pub warm_up: Duration,
    /// Requests that end in this time, after the warm-up, count.
    pub measured: Duration,
}

impl Times {
    /// A number of seconds, after a second of warm-up.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self {
            warm_up: Duration::from_secs(1),
            measured: Duration::from_secs(seconds),
        }
    }
}

/// Keeps a number of connections busy. `make` builds the n-th request.
pub async fn closed_loop(
    target: &Target,
    connections: usize,
    times: Times,
    make: impl Fn(u64) -> Vec<u8> + 'static,
) -> Outcome {
    let begun = Instant::now();
    let (from, to) = (
        begun + times.warm_up,
        begun + times.warm_up + times.measured,
    );
    let (make, number) = (Rc::new(make), Rc::new(Cell::new(0)));
    let outcome = Rc::new(RefCell::new(Outcome::new(times.measured)));
    let local = LocalSet::new();
    for _ in 0..connections {
        let (target, make, number) = (target.clone(), Rc::clone(&make), Rc::clone(&number));
        let outcome = Rc::clone(&outcome);
        local.spawn_local(async move {
            let mut connection = None;
            while Instant::now() < to {
                let request = make(number.replace(number.get() + 1));
                let sent = Instant::now();
                let status = exchange(&target, &mut connection, &request).await;
                let ended = Instant::now();
                if (from..to).contains(&ended) {
                    outcome.borrow_mut().add(status, ended - sent);
                }
            }
        });
    }
    // Responses after the end do not count and are not awaited.
    let _ = tokio::time::timeout_at((to + Duration::from_millis(10)).into(), local).await;
    let outcome = outcome.take();
    outcome.or_empty(times.measured)
}

/// Keeps a number of clients busy for some time: each connects, sends a request, disconnects after `after` without
/// reading a response, and starts over. Returns how many requests were sent.
pub async fn leaving_loop(
    target: &Target,
    clients: usize,
    after: Duration,
    time: Duration,
    make: impl Fn(u64) -> Vec<u8> + 'static,
) -> u64 {
    let until = Instant::now() + time;
    let (make, number) = (Rc::new(make), Rc::new(Cell::new(0)));
    let local = LocalSet::new();
    for _ in 0..clients {
        let (target, make, number) = (target.clone(), Rc::clone(&make), Rc::clone(&number));
        local.spawn_local(async move {
            while Instant::now() < until {
                let request = make(number.replace(number.get() + 1));
                if let Ok(connection) = Connection::open(&target).await {
                    let _ = connection.send_and_leave(&request, after).await;
                } else {
                    tokio::time::sleep(after).await;
                }
            }
        });
    }
    let _ = tokio::time::timeout_at((until + LIMIT).into(), local).await;
    number.get()
}

/// Sends `rate` requests a second, at random moments (a Poisson process) or evenly, over at most `max_connections`;
/// a request without a free connection counts as an error. Waits for the responses to requests sent in time.
pub async fn open_loop(
    target: &Target,
    rate: f64,
    arrivals: Arrivals,
    max_connections: usize,
    times: Times,
    make: impl Fn(u64) -> Vec<u8>,
) -> Outcome {
    let begun = Instant::now();
    let (from, to) = (
        begun + times.warm_up,
        begun + times.warm_up + times.measured,
    );
    let mut outcome = Outcome::new(times.measured);
    let idle: Rc<RefCell<Vec<Connection>>> = Rc::default();
    let local = LocalSet::new();
    let sending = async {
        let mut running = JoinSet::new();
        let mut due = begun;
        for number in 0.. {
            due += arrivals.pause(rate);
            if due >= to {
                break;
            }
            tokio::time::sleep_until(due.into()).await;
            while let Some(Ok((status, took, counts))) = running.try_join_next() {
                if counts {
                    outcome.add(status, took);
                }
            }
            if running.len() >= max_connections {
                outcome.add(None, Duration::ZERO);
                continue;
            }
            let (target, request, idle) = (target.clone(), make(number), Rc::clone(&idle));
            running.spawn_local(async move {
                let mut connection = idle.borrow_mut().pop();
                let status = exchange(&target, &mut connection, &request).await;
                idle.borrow_mut().extend(connection);
                (status, due.elapsed(), due >= from)
            });
        }
        while let Some(ended) = running.join_next().await {
            if let Ok((status, took, true)) = ended {
                outcome.add(status, took);
            }
        }
    };
    local.run_until(sending).await;
    outcome
}

/// When requests are due.
#[derive(Debug, Clone, Copy)]
pub enum Arrivals {
    /// At even intervals.
    Even,
    /// At random: the intervals are exponentially distributed.
    Random,
}

impl Arrivals {
    fn pause(self, rate: f64) -> Duration {
        let factor = match self {
            Self::Even => 1.0,
            Self::Random => -(1.0 - fastrand::f64()).ln(),
        };
        Duration::from_secs_f64(factor / rate)
    }
}

/// Sends a request and returns the status of its response. Connects first if there is no connection, and leaves none
/// if it can't be reused.
async fn exchange(
    target: &Target,
    connection: &mut Option<Connection>,
    request: &[u8],
) -> Option<u16> {
    let exchange = async {
        let mut open = match connection.take() {
            Some(open) => open,
            None => Connection::open(target).await.ok()?,
        };
        let response = open.send(request).await.ok()?;
        if response.keeps_alive {
            *connection = Some(open);
        }
        Some(response.status)
    };
    tokio::time::timeout(LIMIT, exchange).await.ok().flatten()
}
