//! The shared dependencies of slices and transports. The application creates them.

use std::sync::Arc;
use std::time::Instant;

use crate::access::authenticator::Authenticator;
use crate::access::feed::Feed;
use crate::breached::Breached;
use crate::config::Settings;
use crate::hashing::{PasswordHasher, Profiles};
use crate::idempotency::Idempotency;
use crate::lifecycle::Lifecycle;
use crate::mail::delivery::Delivery;
use crate::platform::clock::{Clock, Randomness};
use crate::platform::database::{Database, Statement};
use crate::platform::machine::Machine;
use crate::platform::metrics::Metrics;
use crate::platform::redis::Redis;
use crate::platform::turns::Turns;
use crate::tokens::Tokens;
use crate::tokens::secrets::Mac;

/// Everything that a slice may use.
pub struct Dependencies {
    /// All settings.
    pub settings: Settings,
    /// The database.
    pub database: Database,
    /// What shows that the queries work: see [`Slice::readable`](crate::slice::Slice::readable).
    pub readable: Arc<[&'static Statement]>,
    /// Redis, if configured: a cache and lease store that nothing depends on for correctness.
    pub redis: Option<Redis>,
    /// Hashes passwords.
    pub hasher: Arc<dyn PasswordHasher>,
    /// The breached passwords, if there is a list of them.
    pub breached: Option<Arc<Breached>>,
    /// The attempts at passwords under way, by subject: of all operations together.
    pub attempts: Arc<Turns<Mac>>,
    /// The formats and costs of the stored hashes.
    pub profiles: Arc<Profiles>,
    /// Runs commands once per idempotency key.
    pub idempotency: Arc<Idempotency>,
    /// What tokens are made and checked with.
    pub tokens: Arc<Tokens>,
    /// What was revoked, and what roles and service keys permit.
    pub feed: Arc<Feed>,
    /// Finds out who calls.
    pub authenticator: Arc<Authenticator>,
    /// Sends mails; `None` if they go nowhere.
    pub delivery: Option<Arc<Delivery>>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// Random bytes for salts and ids.
    pub randomness: Arc<dyn Randomness>,
    /// The shutdown state, and the tasks that must finish.
    pub lifecycle: Lifecycle,
    /// The metrics.
    pub metrics: Metrics,
    /// CPU, memory and disk usage of the machine.
    pub machine: Arc<Machine>,
    /// When the service started.
    pub started: Instant,
}
