//! The service in the test's process, with slices that misbehave.

use std::sync::Arc;

use actix_web::HttpResponse;
use signup_service::access::Access;
use signup_service::app;
use signup_service::config::{Settings, Sources};
use signup_service::http::middleware::idempotency::respond;
use signup_service::http::operation::{Call, Method, Operation};
use signup_service::http::problem::Problem;
use signup_service::idempotency::{Begun, Outcome};
use signup_service::lifecycle::Lifecycle;
use signup_service::platform::clock::SettableClock;
use signup_service::platform::database::{
    Database as ServiceDatabase, End, Error, Transaction, UnitOfWork,
};
use signup_service::platform::metrics::Metrics;
use signup_service::slice::Slice;
use signup_service::slices;

use super::{Backend, Database};

/// A running service that stops with the test's runtime.
pub struct InProcess {
    address: std::net::SocketAddr,
    /// The clock of the service; advanced by tests.
    pub clock: Arc<SettableClock>,
    pub database: Arc<Database>,
}

impl InProcess {
    /// Starts the service with additional operations: `/panic`, whose handler panics; `/stuck`, which never responds;
    /// `/keyed`, which reports whether a request's key was new; `/recorded/{id}`, which writes its record alone; and `/shared/{id}`, which is shared by two slices.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        Self::start_on(Arc::new(Database::new(Backend::Sqlite)), settings).await
    }

    /// Like [`start`](Self::start), on a database that may be shared.
    pub async fn start_on(database: Arc<Database>, settings: &[(&str, &str)]) -> Self {
        let url = database.url();
        let mut environment = vec![
            ("DATABASE_URL", url.as_str()),
            ("DATABASE_MIGRATE", "true"),
            ("IDEMPOTENCY_SECRET", super::SECRET),
            ("PORT", "0"),
        ];
        environment.extend(super::DEFAULTS);
        environment.extend(settings);
        let sources = Sources::given(&environment, "").expect("an empty file");
        let settings = Settings::from_sources(sources, false).expect("valid settings");
        let mut slices = slices::all();
        slices.extend([misbehaving, reading, writing].map(Slice::new));
        let metrics = Metrics::new().expect("unique names");
        let lifecycle = Lifecycle::new(tokio::runtime::Handle::current());
        let clock = Arc::new(SettableClock::default());
        let service = app::Service::start(settings, &slices, lifecycle, metrics, clock.clone());
        let service = service.await.expect("it starts");
        let address = service.address;
        tokio::spawn(service.run());
        Self {
            address,
            clock,
            database,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        let url = format!("http://{}{path}", self.address);
        reqwest::get(url).await.expect("a response")
    }

    /// A request of any method, without a body.
    pub async fn send(&self, method: &str, path: &str) -> reqwest::Response {
        let method = method.parse().expect("a method");
        let url = format!("http://{}{path}", self.address);
        let request = reqwest::Client::new().request(method, url);
        request.send().await.expect("a response")
    }

    /// A POST with a key.
    pub async fn post(&self, path: &str, key: &str, body: &serde_json::Value) -> reqwest::Response {
        let request = reqwest::Client::new().post(format!("http://{}{path}", self.address));
        let request = request.header("Idempotency-Key", key).json(body);
        request.send().await.expect("a response")
    }
}

/// The outcome of `/keyed`, which is never recorded, and of `/recorded/{id}`.
#[derive(serde::Serialize, serde::Deserialize)]
struct Nothing;

impl Outcome for Nothing {
    const VERSION: i16 = 1;
}

/// One of two slices that share a path.
fn reading() -> Vec<Operation> {
    vec![
        named(Method::Get, "/shared/{id}"),
        named(Method::Get, "/shared/literal"),
    ]
}

/// The other slice.
fn writing() -> Vec<Operation> {
    [Method::Delete, Method::Put, Method::Patch]
        .map(|method| named(method, "/shared/{id}"))
        .into()
}

/// An operation that responds with its name and the id in the path.
fn named(method: Method, path: &'static str) -> Operation {
    let access = Access::Public("called by a test");
    Operation::of(method, path, access).handled_by(move |_| {
        move |call: Call| {
            let text = format!("{method:?} {path} {}", call.path("id"));
            async { Ok(HttpResponse::Ok().body(text)) }
        }
    })
}

fn misbehaving() -> Vec<Operation> {
    let access = Access::Public("called by a test");
    vec![
        Operation::get("/panic", access)
            .handled_by(|_| |_| async { panic!("a secret that must not leave") }),
        Operation::get("/stuck", access).handled_by(|_| |_| std::future::pending()),
        Operation::post("/recorded/{id}", access)
            .keyed()
            .handled_by(|dependencies| {
                let database = dependencies.database.clone();
                move |call| recorded(database.clone(), call)
            }),
        Operation::post("/keyed", access)
            .keyed()
            .handled_by(|_| keyed),
    ]
}

impl UnitOfWork for Nothing {
    type Outcome = Self;

    async fn run(&self, _: &mut Transaction) -> Result<End<Self>, Error> {
        Ok(End::Commit(Self))
    }
}

async fn recorded(database: ServiceDatabase, mut call: Call) -> Result<HttpResponse, Problem> {
    let recorded = match call.begin(&[]).await? {
        Begun::Execute(execution) => execution.write(&database, Nothing).await?,
        Begun::Replay(recorded) => recorded,
    };
    Ok(respond(
        &recorded,
        |Nothing| Ok(HttpResponse::Ok().finish()),
    ))
}

async fn keyed(mut call: Call) -> Result<HttpResponse, Problem> {
    let has_key = call.request.headers().contains_key("idempotency-key");
    Ok(match call.begin(&[]).await? {
        Begun::Execute(_) if has_key => HttpResponse::Ok().body("executed"),
        Begun::Execute(_) => HttpResponse::Ok().body("no key"),
        Begun::Replay(recorded) => respond(&recorded, |Nothing| Ok(HttpResponse::Ok().finish())),
    })
}
