//! Tasks that outlive the request that started them.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::task::TaskTracker;
use tracing::instrument::Instrument;

use crate::platform::context;

/// Runs tasks on a runtime that outlives the HTTP server's threads, and waits for them at shutdown.
#[derive(Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    runtime: Handle,
}

impl Tasks {
    /// Tasks run on this runtime.
    #[must_use]
    pub fn new(runtime: Handle) -> Self {
        Self {
            tracker: TaskTracker::new(),
            runtime,
        }
    }

    /// Runs work that must finish even if the client disconnects. The work keeps the context and
    /// the span of the request; dropping the handle does not stop it.
    pub fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match context::current() {
            Some(context) => self.tracker.spawn_on(
                context::scope(context, work.in_current_span()),
                &self.runtime,
            ),
            None => self.tracker.spawn_on(work, &self.runtime),
        }
    }

    /// Waits for all tasks, up to the limit. Returns whether all of them ended.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(limit, self.tracker.wait())
            .await
            .is_ok()
    }
}

/// Why a task ended without a result. Without the text of a panic, which can contain any data.
#[must_use]
pub fn why_ended(error: &JoinError) -> &'static str {
    if error.is_panic() {
        "its task panicked"
    } else {
        "its task was cancelled"
    }
}
