//! What a slice provides to the application. The slices themselves are in
//! [`slices`](crate::slices).

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::BoxFuture;

use crate::config::Settings;
use crate::dependencies::Dependencies;
use crate::http::operation::Operation;
use crate::platform::database::Statement;
use crate::platform::limits::Limit;
use crate::platform::metrics::Metrics;

/// Whom a slice is for, which decides about the listener that serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Clients: the main listener.
    Clients,
    /// Operators: the operations listener, or the main one if there is none.
    Operators,
    /// Administrators: the administration listener, and never another one.
    Administrators,
}

/// A slice, as the application sees it.
#[derive(Clone, Copy)]
pub struct Slice {
    /// The HTTP operations of the slice.
    pub http: fn() -> Vec<Operation>,
    /// Whether the settings want its operations. The document and the reference pages have them anyway.
    pub is_on: fn(&Settings) -> bool,
    /// Whom it is for.
    pub audience: Audience,
    /// What a slice for others serves on the administration listener, beside what it serves on its own.
    pub on_administration: fn() -> Vec<Operation>,
    /// Responds to paths that match no resource, in place of a bare 404. Only one slice has it.
    pub fallback: Option<fn(&HttpRequest) -> HttpResponse>,
    /// Reads every column that the queries of the slice use, and no row. At the start and in `/ready`
    /// it shows that they work, also on a replica that lags behind a migration.
    pub readable: Option<&'static Statement>,
    /// The limits that the slice keeps, for the reference page.
    pub limits: &'static [Limit],
    /// Registers the metrics that the slice owns, for the reference page.
    pub metrics: fn(&Metrics) -> prometheus::Result<()>,
    /// Work that every instance repeats in the background.
    pub job: Option<Job>,
}

/// Work that is repeated until the service stops. It is then dropped where it waits; what it has begun
/// to write is completed.
#[derive(Clone, Copy)]
pub struct Job {
    /// The pause after each time.
    pub every: Duration,
    /// Called once, with the dependencies of the work.
    pub bind: fn(&Dependencies) -> Repeat,
}

/// Does the work once. It logs its errors.
pub type Repeat = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

impl Slice {
    /// A slice for clients.
    #[must_use]
    pub const fn new(http: fn() -> Vec<Operation>) -> Self {
        Self {
            http,
            is_on: |_| true,
            audience: Audience::Clients,
            on_administration: Vec::new,
            fallback: None,
            readable: None,
            limits: &[],
            metrics: |_| Ok(()),
            job: None,
        }
    }

    /// A slice for operators.
    #[must_use]
    pub const fn for_operators(http: fn() -> Vec<Operation>) -> Self {
        Self {
            audience: Audience::Operators,
            ..Self::new(http)
        }
    }

    /// A slice for administrators.
    #[must_use]
    pub const fn for_administrators(http: fn() -> Vec<Operation>) -> Self {
        Self {
            audience: Audience::Administrators,
            ..Self::new(http)
        }
    }

    /// Its operations on the administration listener.
    #[must_use]
    pub fn administration(&self) -> Vec<Operation> {
        if self.audience == Audience::Administrators {
            (self.http)()
        } else {
            (self.on_administration)()
        }
    }
}
