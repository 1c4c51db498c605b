//! The service inside the test's own process, with slices that misbehave.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use signup_service::app;
use signup_service::config::{Settings, Sources};
use signup_service::lifecycle::Lifecycle;
use signup_service::middleware::idempotency::{Begun, Idempotency, IdempotencyHeader};
use signup_service::middleware::resource::{Methods, resource};
use signup_service::platform::metrics::Metrics;
use signup_service::platform::problem::Problem;
use signup_service::slice::{Platform, Routes, Slice};
use signup_service::slices;
use utoipa::openapi::{OpenApi, OpenApiBuilder};

use super::{Backend, Database};

/// A running service, which stops with the test's runtime.
pub struct Inside {
    address: std::net::SocketAddr,
    _database: Arc<Database>,
}

impl Inside {
    /// Starts the service with `/panic`, whose handler panics; `/stuck`, which never answers; and
    /// `/keyed`, which says whether the key of a request was new to it.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_on(Arc::new(Database::new(Backend::Sqlite)), settings).await
    }

    /// The same on a database that others may use too.
    pub async fn start_on(database: Arc<Database>, settings: &[(&str, &str)]) -> Self {
        let url = database.url();
        let mut environment = vec![
            ("DATABASE_URL", url.as_str()),
            ("DATABASE_MIGRATE", "true"),
            ("IDEMPOTENCY_SECRET", super::SECRET),
            ("PORT", "0"),
        ];
        environment.extend(settings);
        let sources = Sources::given(&environment, "").expect("an empty file");
        let settings = Settings::from_sources(sources, false).expect("valid settings");
        let mut slices = slices::all();
        slices.push(Slice {
            api: no_api,
            routes: misbehaving,
            for_operations: false,
        });
        let metrics = Metrics::new().expect("names that differ");
        let lifecycle = Lifecycle::new(tokio::runtime::Handle::current());
        let service = app::Service::start(settings, &slices, lifecycle, metrics)
            .await
            .expect("it starts");
        let address = service.address;
        tokio::spawn(service.run());
        Self {
            address,
            _database: database,
        }
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        let url = format!("http://{}{path}", self.address);
        reqwest::get(url).await.expect("an answer")
    }

    /// A POST with a key.
    pub async fn post(&self, path: &str, key: &str, body: &serde_json::Value) -> reqwest::Response {
        let request = reqwest::Client::new().post(format!("http://{}{path}", self.address));
        let request = request.header("Idempotency-Key", key).json(body);
        request.send().await.expect("an answer")
    }
}

fn no_api() -> OpenApi {
    OpenApiBuilder::new().build()
}

fn misbehaving(_: &Platform) -> Routes {
    Arc::new(|config: &mut web::ServiceConfig| {
        config
            .service(resource("/panic", Methods::Get, panicking))
            .service(resource("/stuck", Methods::Get, stuck))
            .service(resource("/keyed", Methods::Post, keyed));
    })
}

async fn panicking() -> HttpResponse {
    panic!("a secret that must not leave");
}

async fn stuck() -> HttpResponse {
    std::future::pending().await
}

async fn keyed(
    idempotency: web::Data<Idempotency>,
    key: IdempotencyHeader,
) -> Result<HttpResponse, Problem> {
    Ok(match idempotency.begin(key.0, "POST /keyed", &[]).await? {
        Begun::First(_) => HttpResponse::Ok().body("executed"),
        Begun::Unkeyed => HttpResponse::Ok().body("no key"),
        Begun::Replay(response) => response,
    })
}
