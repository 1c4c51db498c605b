//! `GET /`, `GET /openapi.json`, `GET /docs`, `GET /problems` and `GET /problems/{slug}`: what the service says
//! of itself; and what it says where nothing is.

mod accept;
mod assets;
mod endpoint;
mod pages;

use std::sync::Arc;

use actix_web::web;

use crate::middleware::resource::{Methods, resource};
use crate::slice::{Platform, Routes};

pub use endpoint::api;

/// The slice's resources.
pub fn routes(_: &Platform) -> Routes {
    let endpoint = web::Data::new(endpoint::Endpoint::new());
    Arc::new(move |config| {
        config
            .app_data(endpoint.clone())
            .service(resource("/", Methods::Get, endpoint::index))
            .service(resource("/openapi.json", Methods::Get, endpoint::openapi))
            .service(resource("/docs", Methods::Get, endpoint::page))
            // Before the files, whose pattern fits it too.
            .service(resource("/docs/licence", Methods::Get, endpoint::licence))
            .service(resource("/docs/{file}", Methods::Get, endpoint::asset))
            .service(resource("/problems", Methods::Get, endpoint::problem_list))
            .service(resource(
                "/problems/{slug}",
                Methods::Get,
                endpoint::problem,
            ))
            .default_service(web::to(endpoint::not_found));
    })
}
