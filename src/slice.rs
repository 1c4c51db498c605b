//! What a slice gives to the application, and what it may use. The slices themselves are in
//! [`slices`](crate::slices).

use std::sync::Arc;
use std::time::Instant;

use actix_web::{HttpRequest, HttpResponse};

use crate::config::Settings;
use crate::hashing::PasswordHasher;
use crate::http::operation::Operation;
use crate::idempotency::Idempotency;
use crate::lifecycle::Lifecycle;
use crate::platform::clock::{Clock, Randomness};
use crate::platform::database::Database;
use crate::platform::machine::Machine;
use crate::platform::metrics::Metrics;
use crate::platform::redis::Redis;

/// A slice, as the application sees it.
#[derive(Clone, Copy)]
pub struct Slice {
    /// What it offers over HTTP.
    pub http: fn() -> Vec<Operation>,
    /// Whether it is for those who run the service: it then moves to the listener for them, where
    /// there is one.
    pub for_operators: bool,
    /// Responds where no resource has the path, in place of a bare 404. One slice has it.
    pub fallback: Option<fn(&HttpRequest) -> HttpResponse>,
}

impl Slice {
    /// A slice for clients.
    #[must_use]
    pub const fn new(http: fn() -> Vec<Operation>) -> Self {
        Self {
            http,
            for_operators: false,
            fallback: None,
        }
    }

    /// A slice for those who run the service.
    #[must_use]
    pub const fn for_operators(http: fn() -> Vec<Operation>) -> Self {
        Self {
            for_operators: true,
            ..Self::new(http)
        }
    }
}

/// Who may call an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever reaches the port, for this reason.
    Public(&'static str),
}

/// What the slices may use.
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
