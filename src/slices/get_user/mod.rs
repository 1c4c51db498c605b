//! `GET /users/{id}`: one user, from the projection.

mod endpoint;
mod store;

use std::sync::Arc;

use actix_web::web;

use crate::middleware::resource::{Methods, resource};
use crate::slice::{Platform, Routes};

pub use endpoint::api;

/// The slice's resource.
pub fn routes(platform: &Platform) -> Routes {
    let endpoint = web::Data::new(endpoint::Endpoint {
        database: platform.database.clone(),
    });
    Arc::new(move |config| {
        config.app_data(endpoint.clone()).service(resource(
            "/users/{id}",
            Methods::Get,
            endpoint::get_user,
        ));
    })
}
