//! HTTP out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde::Serialize;
use utoipa::openapi::{RefOr, Response};
use utoipa::{IntoResponses, OpenApi, ToSchema};

use super::checks::{Check, Checks, Report, Status};
use crate::platform::openapi::{OfEveryRequest, problems};
use crate::platform::problem::{Problem, ProblemType};

/// What the endpoints need.
pub struct Endpoint {
    pub started: Instant,
    pub checks: Arc<Checks>,
}

/// The process lives.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    #[schema(example = "ok")]
    status: &'static str,
    /// The name of the service.
    #[schema(example = "signup-service")]
    service: &'static str,
    /// Its version.
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// How long it has run.
    uptime_seconds: u64,
}

/// The service can serve.
#[derive(Serialize, ToSchema)]
pub struct Ready {
    /// Always `ready`.
    #[schema(example = "ready")]
    status: &'static str,
    /// What was checked.
    #[schema(value_type = Report)]
    checks: Arc<Report>,
}

/// Liveness: the process only, no dependency.
#[utoipa::path(
    get,
    path = "/health",
    operation_id = "health",
    tag = "operations",
    responses(
        (
            status = 200,
            description = "The process lives.",
            body = Health,
            example = json!({
                "status": "ok",
                "service": "signup-service",
                "version": "0.1.0",
                "uptime_seconds": 42,
            })
        ),
        OfEveryRequest,
    )
)]
pub async fn health(endpoint: Data<Endpoint>) -> HttpResponse {
    HttpResponse::Ok().json(Health {
        status: "ok",
        service: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: endpoint.started.elapsed().as_secs(),
    })
}

/// Readiness: every check with its status and figure.
#[utoipa::path(
    get,
    path = "/ready",
    operation_id = "ready",
    tag = "operations",
    responses(
        (
            status = 200,
            description = "The service can serve.",
            body = Ready,
            example = json!({
                "status": "ready",
                "checks": {
                    "running": {"status": "ok", "duration_ms": 0.0},
                    "database": {"status": "ok", "duration_ms": 1.266},
                    "migrations": {"status": "ok", "duration_ms": 0.78, "pending": 0},
                    "redis": {
                        "status": "degraded",
                        "duration_ms": 0.0,
                        "detail": "signups go on without it",
                    },
                    "cpu": {"status": "ok", "duration_ms": 3.325, "used_percent": 47.5},
                    "memory": {"status": "ok", "duration_ms": 3.325, "used_percent": 3.7},
                    "disk": {"status": "ok", "duration_ms": 3.325, "used_percent": 76.5},
                },
            })
        ),
        Problems,
    )
)]
pub async fn ready(endpoint: Data<Endpoint>) -> Result<HttpResponse, Problem> {
    let report = endpoint.checks.report().await;
    if report.is_ready() {
        return Ok(HttpResponse::Ok().json(Ready {
            status: "ready",
            checks: report,
        }));
    }
    let checks = serde_json::to_value(report.as_ref()).map_err(|_| Problem::internal())?;
    Err(
        Problem::new(ProblemType::NotReady, "A check does not hold; see checks.")
            .with_checks(checks),
    )
}

/// What readiness may be refused with.
struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        problems(&[ProblemType::Unavailable, ProblemType::NotReady])
    }
}

#[derive(OpenApi)]
#[openapi(
    paths(health, ready),
    components(schemas(Health, Ready, Report, Check, Status))
)]
struct Api;

/// The slice's part of the OpenAPI document.
pub fn api() -> utoipa::openapi::OpenApi {
    Api::openapi()
}
