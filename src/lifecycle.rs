//! Shutdown: signals, draining, and the tasks that must finish first.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::platform::tasks::Tasks;

/// The shutdown state, shared by everything that depends on it.
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

    /// Runs work that must finish even if the client disconnects; see [`Tasks::spawn`].
    pub fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(work)
    }

    /// The tasks that shutdown waits for.
    #[must_use]
    pub const fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Begins the shutdown: from now on the service is not ready.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Whether the service is shutting down.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Waits until the shutdown begins.
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Asks the connections to close, each after its current request, if it has one.
    pub fn close_connections(&self) {
        self.closing.cancel();
    }

    /// Waits until the connections are to close.
    pub async fn closing(self) {
        self.closing.cancelled().await;
    }

    /// Waits for the spawned work, up to the limit; returns whether all of it finished.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.tasks.drain(limit).await
    }
}

/// Begins the shutdown at the first SIGTERM or ctrl-c. At the second, `end` is called with the
/// signal's name, and is to end the process.
///
/// # Errors
/// When the signal handlers cannot be installed.
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
