//! `GET /health` and `GET /ready`: whether the process lives, and whether it can serve.

mod checks;
mod endpoint;

use std::sync::Arc;

use actix_web::web;

use crate::middleware::resource::{Methods, resource};
use crate::slice::{Platform, Routes};

pub use endpoint::api;

/// The slice's resources.
pub fn routes(platform: &Platform) -> Routes {
    let endpoint = web::Data::new(endpoint::Endpoint {
        started: platform.started,
        checks: Arc::new(checks::Checks::new(platform)),
    });
    Arc::new(move |config| {
        config
            .app_data(endpoint.clone())
            .service(resource("/health", Methods::Get, endpoint::health))
            .service(resource("/ready", Methods::Get, endpoint::ready));
    })
}
