//! `GET /metrics`: the figures, in Prometheus' text format.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{self, Data};
use utoipa::OpenApi;

use crate::middleware::resource::{Methods, resource};
use crate::platform::database::Database;
use crate::platform::metrics::Metrics;
use crate::platform::openapi::OfEveryRequest;
use crate::platform::problem::Problem;
use crate::platform::redis::Redis;
use crate::slice::{Platform, Routes};

/// What the endpoint needs.
struct Endpoint {
    metrics: Metrics,
    database: Database,
    redis: Option<Redis>,
}

/// The slice's resource.
pub fn routes(platform: &Platform) -> Routes {
    let endpoint = web::Data::new(Endpoint {
        metrics: platform.metrics.clone(),
        database: platform.database.clone(),
        redis: platform.redis.clone(),
    });
    Arc::new(move |config| {
        config
            .app_data(endpoint.clone())
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
async fn get_metrics(endpoint: Data<Endpoint>) -> Result<HttpResponse, Problem> {
    let metrics = &endpoint.metrics;
    // What is a state and no event is looked at now.
    endpoint.database.measure(metrics);
    if let Some(redis) = &endpoint.redis {
        redis.measure(metrics);
    }
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
