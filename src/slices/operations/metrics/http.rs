//! HTTP handler and its documentation.

use std::sync::Arc;
use std::time::Instant;

use actix_web::HttpResponse;
use actix_web::http::header;
use serde_json::json;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::{ObjectBuilder, ResponseBuilder, Type};

use crate::access::Access;
use crate::access::feed::Feed;
use crate::dependencies::Dependencies;
use crate::http::openapi::Documentation;
use crate::http::operation::Operation;
use crate::http::problem::Problem;
use crate::platform::clock;
use crate::platform::database::Database;
use crate::platform::metrics::Metrics;
use crate::platform::redis::Redis;
use crate::tokens::Tokens;

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::get(
            "/metrics",
            Access::Public("Prometheus scrapes it without a login"),
        )
        .documented(documentation)
        .handled_by(|dependencies| {
            let scrape = Scrape::new(dependencies);
            move |_| {
                let response = scrape.get_metrics();
                async { response }
            }
        }),
    ]
}

/// The metrics, and what their gauges are measured from.
struct Scrape {
    metrics: Metrics,
    database: Database,
    redis: Option<Redis>,
    feed: Arc<Feed>,
    tokens: Arc<Tokens>,
    started: Instant,
}

impl Scrape {
    fn new(dependencies: &Dependencies) -> Self {
        Self {
            metrics: dependencies.metrics.clone(),
            database: dependencies.database.clone(),
            redis: dependencies.redis.clone(),
            feed: Arc::clone(&dependencies.feed),
            tokens: Arc::clone(&dependencies.tokens),
            started: dependencies.started,
        }
    }

    fn get_metrics(&self) -> Result<HttpResponse, Problem> {
        let metrics = &self.metrics;
        // Gauges of a state are updated now.
        self.database.measure(metrics);
        if let Some(redis) = &self.redis {
            redis.measure(metrics);
        }
        let feed_age = self
            .feed
            .age()
            .unwrap_or_else(|| clock::since(self.started));
        metrics.revocation_feed_age(feed_age);
        metrics.signing_key_age(self.tokens.keyring.age());
        let text = metrics.encode().map_err(|error| {
            tracing::error!(reason = %error, "cannot encode metrics");
            Problem::internal()
        })?;
        Ok(HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, prometheus::TEXT_FORMAT))
            .body(text))
    }
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
