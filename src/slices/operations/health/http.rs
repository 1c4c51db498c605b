//! HTTP out.

use std::sync::Arc;
use std::time::Instant;

use actix_web::HttpResponse;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::checks::{Checks, Report};
use crate::http::openapi::Documentation;
use crate::http::operation::Operation;
use crate::http::problem::{Problem, ProblemType};
use crate::platform::clock;
use crate::slice::Access;

/// The slice's operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::get("/health", Access::Public("probes have no login"))
            .documented(document_health)
            .handled_by(|dependencies| {
                let started = dependencies.started;
                move |_| async move { Ok(health(started)) }
            }),
        Operation::get("/ready", Access::Public("probes have no login"))
            .documented(document_ready)
            .handled_by(|dependencies| {
                let checks = Arc::new(Checks::new(dependencies));
                move |_| ready(Arc::clone(&checks))
            }),
    ]
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

fn health(started: Instant) -> HttpResponse {
    HttpResponse::Ok().json(Health {
        status: "ok",
        service: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: clock::since(started).as_secs(),
    })
}

fn document_health() -> Documentation {
    Documentation::new(
        "health",
        "operations",
        "Liveness: the process only, no dependency.",
    )
    .json::<Health>(
        200,
        "The process lives.",
        json!({
            "status": "ok",
            "service": "signup-service",
            "version": "0.1.0",
            "uptime_seconds": 42,
        }),
    )
}

async fn ready(checks: Arc<Checks>) -> Result<HttpResponse, Problem> {
    let report = checks.report().await;
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

fn document_ready() -> Documentation {
    Documentation::new(
        "ready",
        "operations",
        "Readiness: every check with its status and figure.",
    )
    .json::<Ready>(
        200,
        "The service can serve.",
        json!({
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
        }),
    )
    .problems(&[ProblemType::Unavailable, ProblemType::NotReady])
}
