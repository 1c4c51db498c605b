//! Settings of the service with and without observability, and the cost of metrics.

use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use signup_service::platform::metrics::{DatabasePool, Metrics};

use crate::common::{Failure, Server, threads};

/// The share of requests that are traced.
const SHARE: f64 = 0.01;

/// Serves a collector that accepts spans and ignores them.
pub fn serve_collector() -> Result<(), Failure> {
    actix_web::rt::System::new().block_on(async {
        let server = HttpServer::new(|| {
            App::new()
                .app_data(web::PayloadConfig::new(16 * 1024 * 1024))
                .route(
                    "/v1/traces",
                    web::post().to(async |_: web::Bytes| HttpResponse::Ok().finish()),
                )
        })
        .workers(1)
        .bind(("127.0.0.1", 0))?;
        println!("{}", server.addrs()[0]);
        Ok(server.run().await?)
    })
}

/// Settings that log each request and trace one in a hundred.
pub fn everything(collector: &Server) -> Vec<(&'static str, String)> {
    vec![
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://{}", collector.address),
        ),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio".to_owned()),
        ("OTEL_TRACES_SAMPLER_ARG", SHARE.to_string()),
    ]
}

/// Settings that only log the address of the service. Metrics can't be switched off, nor can the request and trace ids
/// in responses.
pub fn nothing() -> Vec<(&'static str, String)> {
    vec![("RUST_LOG", "off,signup_service::app=info".to_owned())]
}

/// The share of throughput that is left when the service is observed. The unobserved service has metrics, too, so
/// their processor time is subtracted.
pub fn share_left(observed: f64, unobserved: f64, metrics: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a few cores")]
    let processors = threads() as f64;
    observed / unobserved * (1.0 - metrics * observed / processors)
}

/// Measures the time, in seconds, that a read spends on its metrics.
pub fn metrics_of_a_request() -> f64 {
    const TIMES: u32 = 1_000_000;
    let metrics = Metrics::new().expect("unique names");
    let waits = metrics.pool_waits(DatabasePool::Read);
    let begun = Instant::now();
    for _ in 0..TIMES {
        let in_flight = metrics.request_begins();
        let waited = Instant::now();
        waits.observe(waited.elapsed().as_secs_f64());
        drop(in_flight);
        metrics.request_ended("GET", "/users/{id}", 200, Duration::from_micros(500));
    }
    begun.elapsed().as_secs_f64() / f64::from(TIMES)
}

/// Checks that spans were exported, as dropping them would look cheap. Each traced
/// read has two at least: the request, and its statement or the wait for a shared one.
pub fn check_spans_left(address: &str, reads: f64) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let metrics = runtime.block_on(async {
        reqwest::get(format!("http://{address}/metrics"))
            .await?
            .text()
            .await
    })?;
    let count = |name: &str| {
        let value = metrics.lines().find_map(|line| line.strip_prefix(name));
        value.and_then(|value| value.trim().parse::<f64>().ok())
    };
    let expected = reads * SHARE * 2.0;
    // The last ones are still queued, and sampling is random.
    match count("trace_spans_exported_total") {
        Some(left) if left > expected * 0.8 => Ok(()),
        left => Err(format!("{left:?} of {expected:.0} spans were exported").into()),
    }
}
