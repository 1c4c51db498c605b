//! `GET /users`: look-up by address, and the list of users, newest first.

pub mod cursor;
mod endpoint;
pub mod store;

use std::sync::Arc;

use actix_web::web;

use crate::middleware::resource::{Methods, resource};
use crate::slice::{Platform, Routes};

pub use endpoint::{Parameters, api};

/// The slice's resource.
pub fn routes(platform: &Platform) -> Routes {
    let endpoint = web::Data::new(endpoint::Endpoint {
        database: platform.database.clone(),
    });
    Arc::new(move |config| {
        config.app_data(endpoint.clone()).service(resource(
            "/users",
            Methods::Get,
            endpoint::list_users,
        ));
    })
}
