//! What a slice provides to the application. The slices themselves are in
//! [`slices`](crate::slices).

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse};
use futures_util::future::BoxFuture;

use crate::dependencies::Dependencies;
use crate::http::operation::Operation;
use crate::platform::database::Statement;
use crate::platform::limits::Limit;
use crate::platform::metrics::Metrics;

/// A slice, as the application sees it.
#[derive(Clone, Copy)]
pub struct Slice {
    /// The HTTP operations of the slice.
    pub http: fn() -> Vec<Operation>,
    /// Whether the slice is for operators: it is then served by the operations listener, if one is
    /// configured.
    pub for_operators: bool,
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
            for_operators: false,
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
            for_operators: true,
            ..Self::new(http)
        }
    }
}
