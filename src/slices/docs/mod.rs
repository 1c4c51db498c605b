//! `GET /openapi.json`, `GET /docs` and `GET /problems/{slug}`: what the service says of itself.

mod endpoint;

use std::sync::Arc;

use actix_web::web;

use super::Routes;
use crate::app::Platform;
use crate::middleware::resource;

pub use endpoint::api;

/// The slice's resources.
pub fn routes(_: &Platform) -> Routes {
    let endpoint = web::Data::new(endpoint::Endpoint::new());
    Arc::new(move |config| {
        config
            .app_data(endpoint.clone())
            .service(resource::get("/openapi.json", endpoint::openapi))
            .service(resource::get("/docs", endpoint::page))
            .service(resource::get("/docs/{file}", endpoint::asset))
            .service(resource::get("/problems/{slug}", endpoint::problem));
    })
}
