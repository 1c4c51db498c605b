//! HTTP handlers and their documentation.

use std::sync::Arc;
use std::time::Instant;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::checks::{Checks, Report};
use crate::access::Access;
use crate::http::openapi::Documentation;
use crate::http::operation::Operation;
use crate::http::problem::{About, Member, Problem, ProblemType};
use crate::platform::clock;

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

/// A readiness check failed.
const NOT_READY: ProblemType = ProblemType::new(&About {
    slug: "not-ready",
    status: StatusCode::SERVICE_UNAVAILABLE,
    title: "Service not ready",
    meaning: "A readiness check failed. Only `/ready` responds with this problem.",
    advice: "Send requests elsewhere, and retry later. The member `checks` \
          has each check with its status and value: those that are `failed` \
          or `timed_out` are the reason.",
    detail: "A check failed; see checks.",
    headers: &[],
    member: Member::Checks {
        schema: "Report",
        example: example_checks,
    },
});

fn example_checks() -> serde_json::Value {
    json!({
        "running": {"status": "ok", "duration_ms": 0.0},
        "database": {"status": "failed", "duration_ms": 5.875, "detail": "read-only"},
        "migrations": {"status": "ok", "duration_ms": 6.311, "pending": 0},
        "revocations": {"status": "ok", "duration_ms": 0.0},
        "cpu": {"status": "ok", "duration_ms": 4.236, "used_percent": 12.5},
        "memory": {"status": "ok", "duration_ms": 4.236, "used_percent": 4.1},
        "disk": {"status": "ok", "duration_ms": 4.236, "used_percent": 73.3},
    })
}

/// The process is alive.
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
    /// The time since the start.
    uptime_seconds: u64,
}

/// The service is ready.
#[derive(Serialize, ToSchema)]
pub struct Ready {
    /// Always `ready`.
    #[schema(example = "ready")]
    status: &'static str,
    /// The checks.
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
        "The process is alive.",
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
    Err(Problem::new(NOT_READY, "A check failed; see checks.").with_checks(checks))
}

fn document_ready() -> Documentation {
    Documentation::new(
        "ready",
        "operations",
        "Readiness: every check with its status and value.",
    )
    .json::<Ready>(
        200,
        "The service is ready.",
        json!({
            "status": "ready",
            "checks": {
                "running": {"status": "ok", "duration_ms": 0.0},
                "database": {"status": "ok", "duration_ms": 1.266},
                "migrations": {"status": "ok", "duration_ms": 0.78, "pending": 0},
                "redis": {
                    "status": "degraded",
                    "duration_ms": 0.0,
                    "detail": "signups continue without it",
                },
                "revocations": {"status": "ok", "duration_ms": 0.0},
                "breached_passwords": {
                    "status": "ok",
                    "duration_ms": 0.0,
                    "date": "2026-11-02T03:11:40.000000Z",
                    "age_days": 24,
                },
                "cpu": {"status": "ok", "duration_ms": 3.325, "used_percent": 47.5},
                "memory": {"status": "ok", "duration_ms": 3.325, "used_percent": 3.7},
                "disk": {"status": "ok", "duration_ms": 3.325, "used_percent": 76.5},
            },
        }),
    )
    .problems(&[ProblemType::UNAVAILABLE, NOT_READY])
}
