//! What faces and slices may use. The application makes it.

use std::sync::Arc;
use std::time::Instant;

use crate::config::Settings;
use crate::hashing::PasswordHasher;
use crate::idempotency::Idempotency;
use crate::lifecycle::Lifecycle;
use crate::platform::clock::{Clock, Randomness};
use crate::platform::database::Database;
use crate::platform::machine::Machine;
use crate::platform::metrics::Metrics;
use crate::platform::redis::Redis;

/// Everything that a slice is handed.
pub struct Dependencies {
    /// All settings.
    pub settings: Settings,
    /// The database.
    pub database: Database,
    /// What speeds up, where there is one.
    pub redis: Option<Redis>,
    /// Hashes passwords.
    pub hasher: Arc<dyn PasswordHasher>,
    /// Knows what each key came to.
    pub idempotency: Arc<Idempotency>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes salts and ids.
    pub randomness: Arc<dyn Randomness>,
    /// Knows whether the service is going down, and runs what must not be cut.
    pub lifecycle: Lifecycle,
    /// The figures.
    pub metrics: Metrics,
    /// How full the machine is.
    pub machine: Arc<Machine>,
    /// When the service started.
    pub started: Instant,
}
