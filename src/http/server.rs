//! The server: its listeners, and the threads that serve.

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
use actix_web::{App, web};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing_actix_web::TracingLogger;

use super::connection::{self, Terms, Thread};
use super::connections::Connections;
use crate::config::Http;
use crate::lifecycle::Lifecycle;
use crate::middleware::client::TrustedProxies;
use crate::middleware::idempotency::Idempotency;
use crate::middleware::request_context::{self, Ids};
use crate::middleware::trace::RequestSpan;
use crate::middleware::{edge, hosts, observe};
use crate::platform::metrics::Metrics;
use crate::platform::problem::{Problem, ProblemType};
use crate::platform::telemetry::Sampling;
use crate::slice::{Platform, Routes};

/// How long the threads may take to begin.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How much of a response and of a request the system keeps for one connection, in bytes; Linux
/// takes twice as much. It counts against the memory of a container as well.
const SOCKET_BUFFER: u32 = 64 * 1024;

/// How many connections may wait to be taken. The system has a limit of its own (Linux: 4,096). One
/// that finds no room tries again after a second, or after three.
const BACKLOG: u32 = 4096;

/// A listener with the threads that serve it.
pub struct Listening {
    /// Where it listens.
    pub address: SocketAddr,
    handle: ServerHandle,
    serving: JoinHandle<std::io::Result<()>>,
}

/// What a listener is to be like.
pub struct Listener {
    /// Where it is to listen; port 0 takes a free one.
    pub address: SocketAddr,
    /// Threads that serve it.
    pub workers: usize,
    /// Connections at a time.
    pub max_connections: usize,
    /// Bytes that they may hold together.
    pub budget: usize,
    /// What is served.
    pub routes: Vec<Routes>,
}

impl Listening {
    /// Begins to listen, and returns once every thread serves.
    ///
    /// # Errors
    /// When the address can't be had, or a thread does not begin.
    pub async fn start(platform: &Platform, listener: Listener) -> std::io::Result<Self> {
        let socket = listen(listener.address)?;
        let address = socket.local_addr()?;
        let http = &platform.settings.http;
        let workers = listener.workers.min(listener.max_connections);
        let terms = Terms {
            connections: Connections::new(
                listener.max_connections,
                listener.budget,
                platform.metrics.clone(),
            ),
            ids: Ids::new(
                Arc::clone(&platform.clock),
                Arc::clone(&platform.randomness),
            ),
            metrics: platform.metrics.clone(),
            read_timeout: http.read_timeout,
            keep_alive: http.keep_alive,
        };
        let closing = (platform.lifecycle.clone(), terms.connections.clone());
        tokio::spawn(async move {
            closing.0.closing().await;
            closing.1.close();
        });
        let parts = Parts::new(platform, http, address, listener.routes, terms.ids.clone());
        let (serving_threads, mut count) = watch::channel(0_usize);
        let serving_threads = Arc::new(serving_threads);
        let server = Server::build()
            .workers(workers)
            // The sum over the threads is never more than what was asked for.
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
                _ => std::io::Error::other("the server ended at once"),
            }),
            all = all => match all {
                Ok(Ok(_)) => Ok(Self { address, handle, serving }),
                _ => Err(std::io::Error::other("not every thread began to serve")),
            },
        }
    }

    /// Waits until it serves no more, by itself: it never should.
    pub async fn failed(&mut self) -> std::io::Error {
        match (&mut self.serving).await {
            Ok(Err(error)) => error,
            _ => std::io::Error::other("the server ended"),
        }
    }

    /// Stops: takes no more connections, and waits until the last one ended; says whether that was
    /// within the limit. Connections that are left then are cut.
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
    // A port that an ended process still has in TIME_WAIT is free to take; one in use is not.
    socket.set_reuseaddr(true)?;
    // Connections take these over.
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// What the application of each thread is made of.
#[derive(Clone)]
struct Parts {
    routes: Arc<[Routes]>,
    idempotency: web::Data<Idempotency>,
    ids: Ids,
    sampling: Sampling,
    proxies: TrustedProxies,
    hosts: hosts::Hosts,
    metrics: Metrics,
    lifecycle: Lifecycle,
    timeout: Duration,
    /// The origins whose pages may ask, if there are any.
    cors: Option<Arc<[String]>>,
}

impl Parts {
    fn new(
        platform: &Platform,
        http: &Http,
        address: SocketAddr,
        routes: Vec<Routes>,
        ids: Ids,
    ) -> Self {
        Self {
            routes: routes.into(),
            idempotency: web::Data::from(Arc::clone(&platform.idempotency)),
            ids,
            sampling: Sampling::new(&platform.settings.traces),
            proxies: TrustedProxies::new(&http.trusted_proxies, http.trusted_proxy_hops),
            hosts: hosts::Hosts::new(address, &http.hosts),
            metrics: platform.metrics.clone(),
            lifecycle: platform.lifecycle.clone(),
            timeout: http.request_timeout,
            cors: (!http.cors_allowed_origins.is_empty())
                .then(|| http.cors_allowed_origins.clone().into()),
        }
    }
}

/// Lets the pages of these origins ask from a browser (the Fetch standard's CORS protocol), and
/// see what a client needs.
fn cross_origin(origins: &[String]) -> Cors {
    const PREFLIGHT_SECONDS: usize = 600;
    let cors = Cors::default()
        .allowed_methods(["GET", "HEAD", "POST"])
        .allowed_headers([
            "content-type",
            "idempotency-key",
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
    origins
        .iter()
        .fold(cors, |cors, origin| cors.allowed_origin(origin))
}

/// The application of one of the server's threads. The middleware that is named last is met
/// first.
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
        routes,
        idempotency,
        ids,
        sampling,
        proxies,
        hosts,
        metrics,
        lifecycle,
        timeout,
        cors,
    } = parts;
    let cors = Condition::new(cors.is_some(), cross_origin(cors.as_deref().unwrap_or(&[])));
    App::new()
        .app_data(idempotency)
        .default_service(web::to(async || -> Result<&'static str, Problem> {
            Err(Problem::new(
                ProblemType::NotFound,
                "No resource has this path.",
            ))
        }))
        .configure(move |config| {
            for routes in routes.iter() {
                routes(config);
            }
        })
        .wrap(cors)
        .wrap(from_fn(move |request, next| {
            edge::edge(hosts.clone(), request, next)
        }))
        .wrap(from_fn(move |request, next| {
            observe::observe(metrics.clone(), lifecycle.clone(), request, next)
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
