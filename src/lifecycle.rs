//! From a signal to the end: draining, the tasks that must finish, the second signal.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::platform::tasks::Tasks;

/// Shared by everything that has to know whether the service is going down.
#[derive(Clone)]
pub struct Lifecycle {
    stopping: CancellationToken,
    closing: CancellationToken,
    tasks: Tasks,
}

impl Lifecycle {
    /// Tasks run on this runtime: it must outlive the HTTP server's threads.
    #[must_use]
    pub fn new(runtime: Handle) -> Self {
        Self {
            stopping: CancellationToken::new(),
            closing: CancellationToken::new(),
            tasks: Tasks::new(runtime),
        }
    }

    /// Runs work that a client who leaves must not cut in half; see [`Tasks::spawn`].
    pub fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(work)
    }

    /// The tasks that are waited for at the end.
    #[must_use]
    pub const fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Begins to stop: from now on the service is not ready.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Whether the service is going down.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Waits until the service begins to stop.
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Asks the connections to end: each after the request that it has, if it has one.
    pub fn close_connections(&self) {
        self.closing.cancel();
    }

    /// Waits until the connections are to end.
    pub async fn closing(self) {
        self.closing.cancelled().await;
    }

    /// Waits for the spawned work, up to the limit; says whether all of it ended.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.tasks.drain(limit).await
    }
}

/// Stops the service at the first SIGTERM or ctrl-c. At the second, `end` is called with its name,
/// and is to end the process.
///
/// # Errors
/// When the system takes no signal handler.
pub fn listen_for_signals(
    lifecycle: &Lifecycle,
    end: impl FnOnce(&'static str) + Send + 'static,
) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let lifecycle = lifecycle.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let name = next().await;
        tracing::info!(signal = name, "shutting down, finishing requests in flight");
        lifecycle.stop();
        end(next().await);
    });
    Ok(())
}
