//! What a slice gives to the application, and what it may use. The slices themselves are in
//! [`slices`](crate::slices).

use std::sync::Arc;
use std::time::Instant;

use actix_web::web::ServiceConfig;
use utoipa::openapi::OpenApi;

use crate::config::Settings;
use crate::hashing::PasswordHasher;
use crate::lifecycle::Lifecycle;
use crate::middleware::idempotency::Idempotency;
use crate::platform::clock::{Clock, Randomness};
use crate::platform::database::Database;
use crate::platform::machine::Machine;
use crate::platform::metrics::Metrics;
use crate::platform::redis::Redis;

/// A slice, as the application sees it.
#[derive(Clone, Copy)]
pub struct Slice {
    /// Its part of the OpenAPI document.
    pub api: fn() -> OpenApi,
    /// Its resources.
    pub routes: fn(&Platform) -> Routes,
    /// Whether it is for those who run the service: it then moves to the listener for them, where
    /// there is one.
    pub for_operations: bool,
}

/// Registers the resources of a slice with one of the server's threads.
pub type Routes = Arc<dyn Fn(&mut ServiceConfig) + Send + Sync>;

/// What the slices may use.
pub struct Platform {
    /// All settings.
    pub settings: Settings,
    /// The pools.
    pub database: Database,
    /// What speeds up, where there is one.
    pub redis: Option<Redis>,
    /// Hashes passwords.
    pub hasher: Arc<dyn PasswordHasher>,
    /// Knows what was answered to which key.
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
