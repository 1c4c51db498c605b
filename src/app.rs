//! The composition root: settings, pools, stores, slices, server, in this order, and the same
//! way back. Nothing here is global.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_http::{HttpService, Protocol};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, map_config};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Server, ServerHandle, fn_service};
use actix_web::middleware::from_fn;
use actix_web::rt::net::TcpStream;
use actix_web::{App, web};
use tracing_actix_web::TracingLogger;

use crate::config::{Backend, Settings};
use crate::hashing::Pool;
use crate::lifecycle::Lifecycle;
use crate::middleware::client::TrustedProxies;
use crate::middleware::idempotency::{Idempotency, SecretError, Secrets, Shared};
use crate::middleware::request_context::Ids;
use crate::middleware::trace::RequestSpan;
use crate::middleware::wire::Wire;
use crate::middleware::{observe, request_context};
use crate::platform::clock::{self, Clock, Randomness};
use crate::platform::database::records::Records;
use crate::platform::database::{self, Database, migrate};
use crate::platform::machine::Machine;
use crate::platform::metrics::Metrics;
use crate::platform::problem::{Problem, ProblemType, error_chain};
use crate::platform::redis::Redis;
use crate::platform::telemetry::Sampling;
use crate::slice::{Platform, Routes, Slice};

/// Below this cost a stolen hash is too cheap to guess.
const LOW_COST: u32 = 10;

/// How long the pools may take to close.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// The service did not start. The text is one line for the terminal.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl From<database::Unusable> for StartError {
    fn from(error: database::Unusable) -> Self {
        Self(error.to_string())
    }
}

/// A service that has started.
pub struct Service {
    /// Where it listens.
    pub address: SocketAddr,
    server: Server,
    platform: Platform,
}

impl Service {
    /// Starts the service with these slices. It takes connections from now on, and answers them
    /// once [`Service::run`] is awaited.
    ///
    /// # Errors
    /// One line that says what to mend.
    pub async fn start(
        settings: Settings,
        slices: &[Slice],
        lifecycle: Lifecycle,
        metrics: Metrics,
    ) -> Result<Self, StartError> {
        if settings.hashing.cost < LOW_COST {
            tracing::warn!(
                cost = settings.hashing.cost,
                "BCRYPT_COST is low: a stolen hash would be cheap to guess"
            );
        }
        if settings.signup_rate.is_none() && !settings.http.is_on_loopback() {
            tracing::warn!(
                host = %settings.http.host,
                "RATE_LIMIT_SIGNUP is off, and HOST is no loopback address: \
                 one client may send any number of signups"
            );
        }
        let database = open_database(&settings, &metrics).await?;
        let randomness: Arc<dyn Randomness> = Arc::new(clock::System);
        let hasher = Pool::start(settings.hashing, Arc::clone(&randomness), metrics.clone())
            .map_err(|error| StartError(format!("cannot start the hashing threads: {error}")))?;
        if hasher.one_hash() > settings.http.request_timeout / 2 {
            tracing::warn!(
                one_hash_ms = hasher.one_hash().as_millis(),
                "BCRYPT_COST is high: a hash takes more than half of REQUEST_TIMEOUT_MS"
            );
        }
        let clock: Arc<dyn Clock> = Arc::new(clock::System);
        let redis = open_redis(&settings, &metrics, &lifecycle).await?;
        let idempotency = Arc::new(Idempotency {
            secrets: open_secrets(&settings, randomness.as_ref())
                .map_err(|error| StartError(error.to_string()))?,
            required: settings.idempotency.required,
            ttl: settings.idempotency.ttl,
            records: Records::new(database.clone()),
            clock: Arc::clone(&clock),
            lifecycle: lifecycle.clone(),
            metrics: metrics.clone(),
            flights: Arc::default(),
            shared: redis.clone().map(|redis| Shared {
                redis,
                lifecycle: lifecycle.clone(),
                clock: Arc::clone(&clock),
                randomness: Arc::clone(&randomness),
                request_timeout: settings.http.request_timeout,
            }),
        });
        let platform = Platform {
            database,
            redis,
            hasher: Arc::new(hasher),
            idempotency,
            clock,
            randomness,
            lifecycle,
            metrics,
            machine: Arc::new(Machine::new(&data_folder(&settings))),
            started: Instant::now(),
            settings,
        };
        let routes = slices
            .iter()
            .map(|slice| (slice.routes)(&platform))
            .collect();
        let (server, address) = start_server(&platform, routes)?;
        Arc::clone(&platform.idempotency).purge_in_the_background();
        platform.metrics.readiness(true);
        tracing::info!(
            address = %address,
            docs = %format_args!("http://{address}/docs"),
            database = database::describe(&platform.settings.database.url),
            "ready: listening"
        );
        Ok(Self {
            address,
            server,
            platform,
        })
    }

    /// Serves until the lifecycle stops, then drains: requests in flight finish, the pools close.
    ///
    /// # Errors
    /// When the server itself fails.
    pub async fn run(self) -> std::io::Result<()> {
        let Self {
            server, platform, ..
        } = self;
        let handle = server.handle();
        let serving = tokio::spawn(server);
        platform.lifecycle.stopping().await;
        shut_down(&handle, &platform).await;
        serving.await.unwrap_or(Ok(()))
    }
}

async fn shut_down(handle: &ServerHandle, platform: &Platform) {
    let http = &platform.settings.http;
    // Not ready already; give the load balancer the time to notice.
    tokio::time::sleep(http.shutdown_delay).await;
    platform.lifecycle.close_connections();
    let begun = Instant::now();
    let stopped = tokio::time::timeout(http.shutdown_grace, handle.stop(true)).await;
    let rest = http.shutdown_grace.saturating_sub(begun.elapsed());
    let drained = platform.lifecycle.drain(rest).await;
    if stopped.is_err() || !drained {
        tracing::warn!("the grace period is over; requests in flight were cut");
        handle.stop(false).await;
    }
    if tokio::time::timeout(CLOSE_LIMIT, platform.database.close())
        .await
        .is_err()
    {
        tracing::warn!("the database did not take its leave in time");
    }
    tracing::info!("stopped");
}

async fn open_database(settings: &Settings, metrics: &Metrics) -> Result<Database, StartError> {
    let url = &settings.database.url;
    if settings.database.migrate {
        migrate::up(url, &mut |progress| {
            if let migrate::Progress::Done(step, took) = progress {
                tracing::info!(
                    migration = step.version,
                    description = step.description,
                    duration_ms = took.as_millis(),
                    "migrated"
                );
            }
        })
        .await?;
    }
    let database = Database::connect(settings, metrics).await?;
    let pending = migrate::pending(&database).await.map_err(|error| {
        StartError(format!(
            "cannot ask {} for its migrations: {}",
            database::describe(url),
            error_chain(&error)
        ))
    })?;
    if !pending.is_empty() {
        database.close().await;
        return Err(StartError(format!(
            "{} migration(s) are pending on {}; run `signup-service migrate` first",
            pending.len(),
            database::describe(url)
        )));
    }
    if let Err(reason) = database.check_readable().await {
        let place = match &settings.database.read_url {
            Some(replica) => database::describe(replica),
            None => database::describe(url),
        };
        database.close().await;
        return Err(StartError(format!("{place}: {reason}")));
    }
    Ok(database)
}

/// Redis, if there is one, watched over in the background. The service starts without it, too.
async fn open_redis(
    settings: &Settings,
    metrics: &Metrics,
    lifecycle: &Lifecycle,
) -> Result<Option<Redis>, StartError> {
    let Some(url) = &settings.redis else {
        return Ok(None);
    };
    let redis = Redis::new(url, metrics.clone()).map_err(StartError)?;
    if !redis.probe().await {
        tracing::warn!("Redis is of no use yet: starting without it");
    }
    let (watched, stopping) = (redis.clone(), lifecycle.clone());
    lifecycle.spawn(async move {
        tokio::select! {
            () = watched.watch() => {}
            () = stopping.stopping() => {}
        }
    });
    Ok(Some(redis))
}

/// The secrets of the settings; an embedded database has one of its own beside it.
fn open_secrets(settings: &Settings, randomness: &dyn Randomness) -> Result<Secrets, SecretError> {
    let previous = settings.idempotency.secret_previous.clone();
    let url = &settings.database.url;
    match (&settings.idempotency.secret, url.backend) {
        (Some(secret), _) => Ok(Secrets::new(secret.clone(), previous)),
        (None, Backend::Postgres) => Err(SecretError::Missing),
        (None, Backend::Sqlite) => {
            let file = database::sqlite_options(url)
                .map(|options| options.get_filename().to_path_buf())
                .unwrap_or_default();
            let mut path = file.into_os_string();
            path.push(".idempotency-secret");
            Secrets::from_file(Path::new(&path), randomness, previous)
        }
    }
}

/// The folder whose disk counts: the database's own, or where the service runs.
fn data_folder(settings: &Settings) -> std::path::PathBuf {
    let url = &settings.database.url;
    let file = match url.backend {
        Backend::Sqlite => database::sqlite_options(url)
            .ok()
            .map(|options| options.get_filename().to_path_buf()),
        Backend::Postgres => None,
    };
    file.as_deref()
        .and_then(Path::parent)
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
        .to_path_buf()
}

fn start_server(
    platform: &Platform,
    routes: Vec<Routes>,
) -> Result<(Server, SocketAddr), StartError> {
    let http = &platform.settings.http;
    let wanted = SocketAddr::new(http.host, http.port);
    let cannot_listen =
        |error: std::io::Error| StartError(format!("cannot listen on {wanted}: {error}"));
    let listener = listen(wanted).map_err(cannot_listen)?;
    let address = listener.local_addr().map_err(cannot_listen)?;

    let ids = Ids::new(
        Arc::clone(&platform.clock),
        Arc::clone(&platform.randomness),
    );
    let (metrics, lifecycle) = (platform.metrics.clone(), platform.lifecycle.clone());
    let sampling = Sampling::new(&platform.settings.traces);
    let proxies = TrustedProxies::new(&http.trusted_proxies);
    let idempotency = web::Data::from(Arc::clone(&platform.idempotency));
    let (read_timeout, request_timeout) = (http.read_timeout, http.request_timeout);
    let keep_alive = http.keep_alive;
    let between_answers = keep_alive + read_timeout + request_timeout;
    let routes: Arc<[Routes]> = routes.into();
    let server = Server::build()
        .workers(http.workers)
        .max_concurrent_connections(http.max_connections.div_ceil(http.workers))
        .disable_signals()
        .shutdown_timeout(http.shutdown_grace.as_secs() + 1)
        .listen("http", listener, move || {
            let app = app(
                Arc::clone(&routes),
                idempotency.clone(),
                ids.clone(),
                sampling.clone(),
                proxies.clone(),
                metrics.clone(),
                lifecycle.clone(),
                request_timeout,
            );
            let (ids, metrics) = (ids.clone(), metrics.clone());
            let lifecycle = lifecycle.clone();
            let service = HttpService::build()
                .graceful_shutdown_signal(move || lifecycle.clone().closing())
                .keep_alive(keep_alive)
                .client_request_timeout(read_timeout)
                .client_disconnect_timeout(Duration::from_secs(1))
                .local_addr(address)
                .finish(map_config(
                    app.into_factory()
                        .map_err(|error: actix_web::Error| error.error_response()),
                    |()| AppConfig::default(),
                ));
            fn_service(move |stream: TcpStream| {
                let peer = stream.peer_addr().ok();
                let _ = stream.set_nodelay(true);
                let wire = Wire::new(stream, ids.clone(), metrics.clone(), between_answers);
                async move { Ok((wire, Protocol::Http1, peer)) }
            })
            .and_then(service)
        })
        .map_err(cannot_listen)?
        .run();
    Ok((server, address))
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        tokio::net::TcpSocket::new_v4()
    } else {
        tokio::net::TcpSocket::new_v6()
    }?;
    // A port that an ended process still has in TIME_WAIT is free to take; one in use is not.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)?.into_std()
}

/// The application of one of the server's threads. The middleware that is named last is met
/// first.
fn app(
    routes: Arc<[Routes]>,
    idempotency: web::Data<Idempotency>,
    ids: Ids,
    sampling: Sampling,
    proxies: TrustedProxies,
    metrics: Metrics,
    lifecycle: Lifecycle,
    timeout: Duration,
) -> App<
    impl actix_service::ServiceFactory<
        actix_web::dev::ServiceRequest,
        Config = (),
        Response = actix_web::dev::ServiceResponse<impl MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    App::new()
        .app_data(idempotency)
        .configure(move |config| {
            for routes in routes.iter() {
                routes(config);
            }
        })
        .default_service(web::to(async || -> Result<&'static str, Problem> {
            Err(Problem::new(
                ProblemType::NotFound,
                "No resource has this path.",
            ))
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
