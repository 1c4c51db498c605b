//! `GET /metrics`: the figures, in Prometheus' text format.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{self, Data};
use utoipa::OpenApi;

use crate::middleware::resource::{Methods, resource};
use crate::platform::metrics::Metrics;
use crate::platform::openapi::OfEveryRequest;
use crate::platform::problem::Problem;
use crate::slice::{Platform, Routes};

/// The slice's resource.
pub fn routes(platform: &Platform) -> Routes {
    let metrics = web::Data::new(platform.metrics.clone());
    Arc::new(move |config| {
        config
            .app_data(metrics.clone())
            .service(resource("/metrics", Methods::Get, get_metrics));
    })
}

/// The figures, in Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "get_metrics",
    tag = "operations",
    responses(
        (
            status = 200,
            description = "The figures.",
            body = String,
            content_type = "text/plain",
            example = json!(
                "# HELP http_requests_in_flight Requests that have no answer yet.\n\
                 # TYPE http_requests_in_flight gauge\n\
                 http_requests_in_flight 1\n"
            )
        ),
        OfEveryRequest,
    )
)]
async fn get_metrics(metrics: Data<Metrics>) -> Result<HttpResponse, Problem> {
    let text = metrics.encode().map_err(|error| {
        tracing::error!(reason = %error, "metrics can't be encoded");
        Problem::internal()
    })?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, prometheus::TEXT_FORMAT))
        .body(text))
}

#[derive(OpenApi)]
#[openapi(paths(get_metrics))]
struct Api;

/// The slice's part of the OpenAPI document.
pub fn api() -> utoipa::openapi::OpenApi {
    Api::openapi()
}
