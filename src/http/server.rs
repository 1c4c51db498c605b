//! The server: its listeners and threads.

use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_cors::Cors;
use actix_service::{IntoServiceFactory, ServiceFactory, fn_factory, fn_service};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Server, ServerHandle};
use actix_web::middleware::{Condition, from_fn};
use actix_web::rt::net::TcpStream;
use actix_web::web::{self, Payload};
use actix_web::{App, HttpRequest, HttpResponse, ResponseError};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing_actix_web::TracingLogger;

use super::connection::connections::Connections;
use super::connection::{self, ConnectionSettings, Thread};
use crate::dependencies::Dependencies;
use crate::http::authorization::Guard;
use crate::http::middleware::client::TrustedProxies;
use crate::http::middleware::request_context::{self, RequestIds};
use crate::http::middleware::trace::RequestSpan;
use crate::http::middleware::{access_log, edge, hosts};
use crate::http::operation::Operation;
use crate::http::problem::Problem;
use crate::http::resource;
use crate::http::router::Router;
use crate::lifecycle::Lifecycle;
use crate::platform::metrics::Metrics;
use crate::platform::telemetry::Sampling;

/// How long the threads may take to start.
const START_LIMIT: Duration = Duration::from_secs(30);

/// The system's buffer size for a response and for a request of one connection, in bytes; Linux
/// uses twice as much. It counts against the memory of a container as well.
const SOCKET_BUFFER: u32 = 64 * 1024;

/// How many connections may wait to be accepted. The system has its own limit (Linux: 4,096). A
/// client that finds no room retries after one second, or after three.
const BACKLOG: u32 = 4096;

/// A listener with its threads.
pub struct Listening {
    /// The address it listens on.
    pub address: SocketAddr,
    handle: ServerHandle,
    serving: JoinHandle<std::io::Result<()>>,
}

/// The configuration of a listener.
pub struct Listener {
    /// The address to listen on; port 0 picks a free one.
    pub address: SocketAddr,
    /// The number of threads.
    pub workers: usize,
    /// The maximum number of connections.
    pub max_connections: usize,
    /// The bytes that the connections may hold together.
    pub budget: usize,
    /// The operations to serve.
    pub operations: Vec<Operation>,
    /// Responds to paths that match no resource; `None` for a bare 404.
    pub fallback: Option<fn(&HttpRequest) -> HttpResponse>,
    /// The origins whose pages may send requests from a browser.
    pub cross_origins: Vec<String>,
    /// Decides who may use their operations.
    pub guard: Arc<Guard>,
}

impl Listening {
    /// Begins to listen, and returns once every thread serves.
    ///
    /// # Errors
    /// When the address is not available, or a thread does not start.
    pub async fn start(dependencies: &Dependencies, listener: Listener) -> std::io::Result<Self> {
        let socket = listen(listener.address)?;
        let address = socket.local_addr()?;
        let http = &dependencies.settings.http;
        let workers = listener.workers.min(listener.max_connections);
        let terms = ConnectionSettings {
            connections: Connections::new(
                listener.max_connections,
                listener.budget,
                dependencies.metrics.clone(),
            ),
            ids: RequestIds::new(
                Arc::clone(&dependencies.clock),
                Arc::clone(&dependencies.randomness),
            ),
            metrics: dependencies.metrics.clone(),
            read_timeout: http.read_timeout,
            keep_alive: http.keep_alive,
        };
        let closing = (dependencies.lifecycle.clone(), terms.connections.clone());
        tokio::spawn(async move {
            closing.0.closing().await;
            closing.1.close();
        });
        let parts = Parts::new(dependencies, &listener, address, terms.ids.clone());
        let (serving_threads, mut count) = watch::channel(0_usize);
        let serving_threads = Arc::new(serving_threads);
        let server = Server::build()
            .workers(workers)
            // The sum over the threads never exceeds the maximum.
            .max_concurrent_connections(listener.max_connections / workers)
            .disable_signals()
            .shutdown_timeout(http.shutdown_grace.as_secs() + 1)
            .listen("http", socket, move || {
                let (parts, terms) = (parts.clone(), terms.clone());
                let serving_threads = Arc::clone(&serving_threads);
                fn_factory(move || {
                    let app = app(parts.clone()).into_factory();
                    let app = app.new_service(AppConfig::default());
                    let (terms, count) = (terms.clone(), Arc::clone(&serving_threads));
                    async move {
                        let thread = Rc::new(Thread::new(app.await?, terms));
                        count.send_modify(|threads| *threads += 1);
                        Ok::<_, ()>(fn_service(move |stream: TcpStream| {
                            let serve = connection::serve(stream, Rc::clone(&thread));
                            async move {
                                serve.await;
                                Ok::<_, ()>(())
                            }
                        }))
                    }
                })
            })?
            .run();
        let handle = server.handle();
        let mut serving = tokio::spawn(server);
        let all = tokio::time::timeout(START_LIMIT, count.wait_for(|threads| *threads >= workers));
        tokio::select! {
            ended = &mut serving => Err(match ended {
                Ok(Err(error)) => error,
                _ => std::io::Error::other("the server ended immediately"),
            }),
            all = all => match all {
                Ok(Ok(_)) => Ok(Self { address, handle, serving }),
                _ => Err(std::io::Error::other("not every thread started")),
            },
        }
    }

    /// Waits until the server fails, which should never happen.
    pub async fn failed(&mut self) -> std::io::Error {
        match (&mut self.serving).await {
            Ok(Err(error)) => error,
            _ => std::io::Error::other("the server ended"),
        }
    }

    /// Stops: accepts no more connections, and waits until the last one has ended; returns whether
    /// that was within the limit. Remaining connections are then cut.
    pub async fn stop(self, limit: Duration) -> bool {
        let stopped = tokio::time::timeout(limit, self.handle.stop(true)).await;
        if stopped.is_err() {
            self.handle.stop(false).await;
        }
        let _ = self.serving.await;
        stopped.is_ok()
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        tokio::net::TcpSocket::new_v4()
    } else {
        tokio::net::TcpSocket::new_v6()
    }?;
    // Allows a port that an ended process still has in TIME_WAIT; one in use is refused.
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit these.
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// The parts of each thread's application.
#[derive(Clone)]
struct Parts {
    router: Arc<Router>,
    ids: RequestIds,
    sampling: Sampling,
    proxies: TrustedProxies,
    hosts: hosts::Hosts,
    metrics: Metrics,
    lifecycle: Lifecycle,
    timeout: Duration,
    cross_origin: Option<Arc<CrossOrigin>>,
}

/// The CORS configuration.
struct CrossOrigin {
    origins: Vec<String>,
    methods: Vec<&'static str>,
}

impl Parts {
    fn new(
        dependencies: &Dependencies,
        listener: &Listener,
        address: SocketAddr,
        ids: RequestIds,
    ) -> Self {
        let http = &dependencies.settings.http;
        let operations = &listener.operations;
        let origins = &listener.cross_origins;
        Self {
            router: Arc::new(Router::new(
                resource::bind(operations, dependencies, &listener.guard),
                listener.fallback.unwrap_or(not_found),
            )),
            ids,
            sampling: Sampling::new(&dependencies.settings.traces),
            proxies: TrustedProxies::new(&http.trusted_proxies, http.trusted_proxy_hops),
            hosts: hosts::Hosts::new(address, &http.hosts),
            metrics: dependencies.metrics.clone(),
            lifecycle: dependencies.lifecycle.clone(),
            timeout: http.request_timeout,
            cross_origin: (!origins.is_empty()).then(|| {
                Arc::new(CrossOrigin {
                    origins: origins.clone(),
                    methods: resource::methods(operations),
                })
            }),
        }
    }
}

fn not_found(_: &HttpRequest) -> HttpResponse {
    Problem::not_found().error_response()
}

/// Allows pages of these origins to send requests from a browser (the Fetch standard's CORS
/// protocol), and to read the headers that a client needs.
fn cross_origin(allowed: &CrossOrigin) -> Cors {
    const PREFLIGHT_SECONDS: usize = 600;
    let cors = Cors::default()
        .allowed_methods(allowed.methods.iter().copied())
        .allowed_headers([
            "content-type",
            "idempotency-key",
            "if-none-match",
            "x-request-id",
            "x-correlation-id",
            "traceparent",
            "tracestate",
        ])
        .expose_headers([
            "location",
            "idempotent-replayed",
            "retry-after",
            "ratelimit",
            "ratelimit-policy",
            "x-request-id",
            "x-correlation-id",
            "traceresponse",
            "etag",
        ])
        .max_age(PREFLIGHT_SECONDS);
    let origins = allowed.origins.iter();
    origins.fold(cors, |cors, origin| cors.allowed_origin(origin))
}

/// The application of one of the server's threads. The middleware that is wrapped last runs first.
fn app(
    parts: Parts,
) -> App<
    impl ServiceFactory<
        actix_web::dev::ServiceRequest,
        Config = (),
        Response = actix_web::dev::ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let Parts {
        router,
        ids,
        sampling,
        proxies,
        hosts,
        metrics,
        lifecycle,
        timeout,
        cross_origin: allowed,
    } = parts;
    let cors = allowed.as_deref().map_or_else(Cors::default, cross_origin);
    let cors = Condition::new(allowed.is_some(), cors);
    App::new()
        // For the span of a request, which begins before the request is served.
        .app_data(Arc::clone(&router))
        .default_service(web::to(move |request: HttpRequest, payload: Payload| {
            let router = Arc::clone(&router);
            async move { router.serve(request, payload).await }
        }))
        .wrap(cors)
        .wrap(from_fn(move |request, next| {
            edge::edge(hosts.clone(), request, next)
        }))
        .wrap(from_fn(move |request, next| {
            access_log::observe(metrics.clone(), lifecycle.clone(), request, next)
        }))
        .wrap(TracingLogger::<RequestSpan>::new())
        .wrap(from_fn(move |request, next| {
            request_context::request_context(
                ids.clone(),
                sampling.clone(),
                proxies.clone(),
                timeout,
                request,
                next,
            )
        }))
}
