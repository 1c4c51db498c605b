//! HTTP handler and its documentation.

use actix_web::HttpResponse;
use actix_web::http::header;
use serde_json::json;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::{ObjectBuilder, ResponseBuilder, Type};

use crate::access::Access;
use crate::http::openapi::Documentation;
use crate::http::operation::Operation;
use crate::http::problem::Problem;
use crate::platform::database::Database;
use crate::platform::metrics::Metrics;
use crate::platform::redis::Redis;

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::get(
            "/metrics",
            Access::Public("Prometheus scrapes it without a login"),
        )
        .documented(documentation)
        .handled_by(|dependencies| {
            let metrics = dependencies.metrics.clone();
            let (database, redis) = (dependencies.database.clone(), dependencies.redis.clone());
            move |_| {
                let response = get_metrics(&metrics, &database, redis.as_ref());
                async { response }
            }
        }),
    ]
}

fn get_metrics(
    metrics: &Metrics,
    database: &Database,
    redis: Option<&Redis>,
) -> Result<HttpResponse, Problem> {
    // Gauges of a state are updated now.
    database.measure(metrics);
    if let Some(redis) = redis {
        redis.measure(metrics);
    }
    let text = metrics.encode().map_err(|error| {
        tracing::error!(reason = %error, "cannot encode metrics");
        Problem::internal()
    })?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, prometheus::TEXT_FORMAT))
        .body(text))
}

fn documentation() -> Documentation {
    let content = ContentBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .example(Some(json!(
            "# HELP http_requests_in_flight Requests without a response yet.\n\
             # TYPE http_requests_in_flight gauge\n\
             http_requests_in_flight 1\n"
        )))
        .build();
    let response = ResponseBuilder::new()
        .description("The metrics.")
        .content("text/plain", content);
    Documentation::new(
        "get_metrics",
        "operations",
        "The metrics, in Prometheus' text format.",
    )
    .response(200, response)
}
