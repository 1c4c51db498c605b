//! The composition root: creates settings, pools, stores, slices and the server in this order, and
//! shuts them down in reverse. Nothing here is global.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;

use crate::access::authenticator::Authenticator;
use crate::access::feed::Feed;
use crate::breached::{self, Breached, BreachedMetrics, Screened};
use crate::config::{
    AdministrationSettings, Backend, DEFAULT_PUBLIC_URL, MailUrl, RedisUrl, Settings, is_in_clear,
};
use crate::dependencies::Dependencies;
use crate::domain::{Permission, Permissions};
use crate::hashing::{PasswordHasher, Pool, Profiles};
use crate::http::authorization::Guard;
use crate::http::server::{Listener, Listening};
use crate::idempotency::record::Records;
use crate::idempotency::{Idempotency, KeyMetrics, LeaseStore, SecretError, Secrets};
use crate::lifecycle::Lifecycle;
use crate::mail;
use crate::platform::clock::{self, Clock, Randomness, SystemRandomness};
use crate::platform::database::{self, Database, Statement, migrate};
use crate::platform::descriptors;
use crate::platform::errors::error_chain;
use crate::platform::limits::{Bound, Limit};
use crate::platform::machine::Machine;
use crate::platform::metrics::Metrics;
use crate::platform::redis::Redis;
use crate::platform::secret_file;
use crate::slice::{Audience, Job, Slice};
use crate::tokens::Tokens;
use crate::tokens::access_token::{AccessTokens, Parties};
use crate::tokens::secrets::{self, TokenSecrets};
use crate::tokens::signing_keys::Keyring;

/// Below this cost a stolen hash is cheap to guess.
const LOW_COST: u32 = 10;

/// How long the pools may take to close.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Connections of the operations listener: it serves a few probes and a scrape.
const OPERATIONS_CONNECTIONS: usize = 64;

/// Bytes that the connections of the operations listener may hold together.
const OPERATIONS_BUDGET: usize = 4 * 1024 * 1024;

/// Connections of the administration listener: it serves a few people and programs.
const ADMINISTRATION_CONNECTIONS: usize = 64;

/// Bytes that the connections of the administration listener may hold together.
const ADMINISTRATION_BUDGET: usize = 4 * 1024 * 1024;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    Limit {
        what: "Requests in flight after a signal",
        bound: Bound::Setting("SHUTDOWN_GRACE_MS"),
        effect: "they are cut",
    },
    Limit {
        what: "Closing of the pools",
        bound: Bound::Time(CLOSE_LIMIT),
        effect: "the process ends all the same",
    },
    Limit {
        what: "Connections of the operations listener",
        bound: Bound::Count(OPERATIONS_CONNECTIONS),
        effect: "further ones wait",
    },
    Limit {
        what: "Memory of these connections",
        bound: Bound::Bytes(OPERATIONS_BUDGET),
        effect: "the slowest connection closes",
    },
    Limit {
        what: "Connections of the administration listener",
        bound: Bound::Count(ADMINISTRATION_CONNECTIONS),
        effect: "further ones wait",
    },
    Limit {
        what: "Memory of these connections",
        bound: Bound::Bytes(ADMINISTRATION_BUDGET),
        effect: "the slowest connection closes",
    },
];

/// Why the service did not start. The text is one line for the terminal.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl From<database::ConnectError> for StartError {
    fn from(error: database::ConnectError) -> Self {
        Self(error.to_string())
    }
}

/// A running service.
pub struct Service {
    /// The address it listens on.
    pub address: SocketAddr,
    /// The address of the administration listener, if its port was free.
    pub administration: Option<SocketAddr>,
    listeners: Listeners,
    dependencies: Dependencies,
}

struct Listeners {
    main: Listening,
    operations: Option<Listening>,
    administration: Option<Listening>,
}

impl Service {
    /// Starts the service with these slices, and returns once it serves.
    ///
    /// # Errors
    /// One line that says what to fix.
    pub async fn start(
        mut settings: Settings,
        slices: &[Slice],
        lifecycle: Lifecycle,
        metrics: Metrics,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        fit_descriptors(&mut settings);
        let randomness: Arc<dyn Randomness> = Arc::new(SystemRandomness);
        refuse_incomplete(&settings)?;
        warn_of_risks(&settings);
        let machine = Arc::new(Machine::new(&data_folder(&settings)));
        let breached = open_breached(&settings, &machine, &metrics).await?;
        let readable: Arc<[_]> = slices.iter().filter_map(|slice| slice.readable).collect();
        let database = open_database(&settings, &readable, &metrics, &lifecycle).await?;
        let hasher = start_hashing(&settings, &randomness, breached.as_ref(), &metrics)?;
        let redis = open_redis(&settings, &metrics, &lifecycle).await?;
        let idempotency = Arc::new(Idempotency {
            secrets: open_secrets(&settings, randomness.as_ref())
                .map_err(|error| StartError(error.to_string()))?,
            ttl: settings.idempotency.ttl,
            records: Records::new(database.clone()),
            clock: Arc::clone(&clock),
            lifecycle: lifecycle.clone(),
            metrics: KeyMetrics::new(&metrics)
                .map_err(|error| StartError(format!("cannot register metrics: {error}")))?,
            running: Arc::default(),
            leases: redis.clone().map(|redis| LeaseStore {
                redis,
                lifecycle: lifecycle.clone(),
                clock: Arc::clone(&clock),
                randomness: Arc::clone(&randomness),
                request_timeout: settings.http.request_timeout,
            }),
        });
        let tokens = open_tokens(&settings, &database, &clock, randomness.as_ref()).await?;
        let feed = Arc::new(Feed::new(database.clone(), Arc::clone(&clock)));
        let authenticator = Arc::new(Authenticator {
            tokens: Arc::clone(&tokens),
            feed: Arc::clone(&feed),
            clock: Arc::clone(&clock),
            lifecycle: lifecycle.clone(),
        });
        let delivery = mail::delivery(&mail::Parts {
            settings: &settings,
            database: &database,
            secrets: &tokens.secrets,
            clock: &clock,
            randomness: &randomness,
            metrics: &metrics,
        })
        .map_err(StartError)?;
        let dependencies = Dependencies {
            database,
            readable,
            redis,
            hasher,
            breached,
            attempts: Arc::default(),
            profiles: Arc::new(Profiles::new(settings.hashing.cost)),
            idempotency,
            tokens,
            feed,
            authenticator,
            delivery: delivery.map(Arc::new),
            clock,
            randomness,
            lifecycle,
            metrics,
            machine,
            started: clock::monotonic(),
            settings,
        };
        // Before the first request: otherwise roles and service keys would be unknown for a second.
        dependencies
            .feed
            .read()
            .await
            .map_err(|error| StartError(format!("cannot read revocations: {error}")))?;
        let operations = listen_for_operations(&dependencies, slices).await?;
        let main = listen(&dependencies, slices, operations.is_some()).await?;
        // Last: its default port gives way to the others.
        let administration = listen_for_administration(&dependencies, slices).await?;
        let administration_address = administration.as_ref().map(|own| own.address);
        work_in_the_background(&dependencies, slices);
        dependencies.metrics.readiness(true);
        tracing::info!(
            address = %main.address,
            operations = operations.as_ref().map(|own| tracing::field::display(own.address)),
            administration = administration_address.map(tracing::field::display),
            docs = %format_args!("http://{}/docs", main.address),
            database = database::describe(&dependencies.settings.database.url),
            "ready: listening"
        );
        Ok(Self {
            address: main.address,
            administration: administration_address,
            listeners: Listeners {
                main,
                operations,
                administration,
            },
            dependencies,
        })
    }

    /// Serves until the lifecycle stops, then drains: requests in flight finish, and the pools
    /// close.
    ///
    /// # Errors
    /// When the server itself fails.
    pub async fn run(self) -> std::io::Result<()> {
        let Self {
            mut listeners,
            dependencies,
            ..
        } = self;
        tokio::select! {
            () = dependencies.lifecycle.stopping() => {}
            error = listeners.main.failed() => {
                tracing::error!(reason = %error, "server failed");
                return Err(error);
            }
        }
        shut_down(listeners, &dependencies).await;
        Ok(())
    }
}

/// Refuses settings that lack what has no default. It comes before the database is contacted, so that this
/// error is reported first.
fn refuse_incomplete(settings: &Settings) -> Result<(), StartError> {
    let is_shared = settings.database.url.backend == Backend::Postgres;
    if is_shared && settings.idempotency.secret.is_none() {
        return Err(StartError(SecretError::Missing.to_string()));
    }
    if is_shared && settings.auth.secret.is_none() {
        return Err(StartError(secrets::SecretError::Missing.to_string()));
    }
    let sends = !matches!(mail::destination(settings), MailUrl::Off);
    if settings.auth.requires_verification && !sends {
        let line = "EMAIL_VERIFICATION=required needs mail, or no address can be verified: set MAIL_URL, or \
                    EMAIL_VERIFICATION=off";
        return Err(StartError(line.to_owned()));
    }
    if settings.auth.uniform_signup && !settings.auth.requires_verification {
        let line = "SIGNUP_ANSWER=uniform needs EMAIL_VERIFICATION=required: only a mail says what a signup came to";
        return Err(StartError(line.to_owned()));
    }
    Ok(())
}

/// Starts the hashing threads; what the settings refuse is not hashed.
fn start_hashing(
    settings: &Settings,
    randomness: &Arc<dyn Randomness>,
    breached: Option<&Arc<Breached>>,
    metrics: &Metrics,
) -> Result<Arc<dyn PasswordHasher>, StartError> {
    let hasher = Pool::start(settings.hashing, Arc::clone(randomness), metrics.clone())
        .map_err(|error| StartError(format!("cannot start the hashing threads: {error}")))?;
    warn_of_slow_hashes(settings, &hasher);
    let least = settings.passwords.min_length;
    Ok(Arc::new(Screened::new(
        Arc::new(hasher),
        breached.cloned(),
        least,
    )))
}

/// Begins what is done in the background until the shutdown.
fn work_in_the_background(dependencies: &Dependencies, slices: &[Slice]) {
    let lifecycle = &dependencies.lifecycle;
    Arc::clone(&dependencies.idempotency).purge_in_the_background();
    Arc::clone(&dependencies.tokens.keyring).maintain_in_the_background(lifecycle);
    Arc::clone(&dependencies.feed).follow(lifecycle);
    for job in slices.iter().filter_map(|slice| slice.job) {
        repeat_in_the_background(job, dependencies);
    }
}

/// Repeats the work of a slice until the shutdown.
fn repeat_in_the_background(job: Job, dependencies: &Dependencies) {
    let repeat = (job.bind)(dependencies);
    let stopping = dependencies.lifecycle.clone();
    dependencies.lifecycle.spawn(async move {
        let work = async {
            loop {
                repeat().await;
                tokio::time::sleep(job.every).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = stopping.stopping() => {}
        }
    });
}

/// Reduces threads and connections to what the limit of open files allows.
fn fit_descriptors(settings: &mut Settings) {
    let Some(limit) = descriptors::raise() else {
        return;
    };
    let databases = settings.database.max_connections.saturating_mul(2);
    let http = &mut settings.http;
    let fitting = descriptors::fit(limit, http.workers, http.max_connections, databases);
    if fitting != (http.workers, http.max_connections) {
        (http.workers, http.max_connections) = fitting;
        tracing::warn!(
            open_files = limit,
            workers = http.workers,
            connections = http.max_connections,
            "the limit of open files is low: fewer threads or connections than HTTP_WORKERS and \
             HTTP_MAX_CONNECTIONS allow"
        );
    }
}

/// Starts the listener for clients. It leaves out the operators' slices if they have a listener of
/// their own.
async fn listen(
    dependencies: &Dependencies,
    slices: &[Slice],
    without_operations: bool,
) -> Result<Listening, StartError> {
    let http = &dependencies.settings.http;
    let address = SocketAddr::new(http.host, http.port);
    let served = |slice: &&Slice| match slice.audience {
        Audience::Clients => true,
        Audience::Operators => !without_operations,
        Audience::Administrators => false,
    };
    let slices: Vec<Slice> = slices
        .iter()
        .filter(served)
        .filter(|slice| (slice.is_on)(&dependencies.settings))
        .copied()
        .collect();
    let listener = Listener {
        address,
        workers: http.workers,
        max_connections: http.max_connections,
        budget: memory_budget(dependencies.machine.memory_limit()),
        operations: slices.iter().flat_map(|slice| (slice.http)()).collect(),
        fallback: slices.iter().find_map(|slice| slice.fallback),
        cross_origins: http.cors_allowed_origins.clone(),
        guard: Arc::new(Guard {
            authenticator: Arc::clone(&dependencies.authenticator),
            opened: if dependencies.settings.auth.open_reads {
                Permissions::of(&[Permission::UsersRead])
            } else {
                Permissions::NONE
            },
        }),
    };
    Listening::start(dependencies, listener)
        .await
        .map_err(|error| cannot_listen(address, &error, "PORT"))
}

/// Starts the listener for operators, if one is configured.
async fn listen_for_operations(
    dependencies: &Dependencies,
    slices: &[Slice],
) -> Result<Option<Listening>, StartError> {
    let Some(address) = dependencies.settings.http.operations else {
        return Ok(None);
    };
    let listener = Listener {
        address,
        workers: 1,
        max_connections: OPERATIONS_CONNECTIONS,
        budget: OPERATIONS_BUDGET,
        operations: slices
            .iter()
            .filter(|slice| slice.audience == Audience::Operators)
            .flat_map(|slice| (slice.http)())
            .collect(),
        fallback: None,
        cross_origins: dependencies.settings.http.cors_allowed_origins.clone(),
        guard: Arc::new(Guard {
            authenticator: Arc::clone(&dependencies.authenticator),
            opened: Permissions::NONE,
        }),
    };
    Listening::start(dependencies, listener)
        .await
        .map(Some)
        .map_err(|error| cannot_listen(address, &error, "OPERATIONS_PORT"))
}

/// Starts the listener for administrators. Another program may have its default port: then the service
/// does without it. No page of another origin may use it, and nothing on it is opened by a setting.
async fn listen_for_administration(
    dependencies: &Dependencies,
    slices: &[Slice],
) -> Result<Option<Listening>, StartError> {
    let AdministrationSettings {
        address,
        is_port_set,
    } = dependencies.settings.http.administration;
    let listener = Listener {
        address,
        workers: 1,
        max_connections: ADMINISTRATION_CONNECTIONS,
        budget: ADMINISTRATION_BUDGET,
        operations: slices
            .iter()
            .filter(|slice| (slice.is_on)(&dependencies.settings))
            .flat_map(Slice::administration)
            .collect(),
        fallback: None,
        cross_origins: Vec::new(),
        guard: Arc::new(Guard {
            authenticator: Arc::clone(&dependencies.authenticator),
            opened: Permissions::NONE,
        }),
    };
    match Listening::start(dependencies, listener).await {
        Ok(listening) => Ok(Some(listening)),
        Err(error) if !is_port_set && error.kind() == std::io::ErrorKind::AddrInUse => {
            tracing::warn!(
                %address,
                "the default port of administration is taken, starting without administration: set ADMIN_PORT"
            );
            Ok(None)
        }
        Err(error) => Err(cannot_listen(address, &error, "ADMIN_PORT")),
    }
}

/// Why a listener did not start; `port` is the name of its port setting.
fn cannot_listen(address: SocketAddr, error: &std::io::Error, port: &str) -> StartError {
    let instead = if error.kind() == std::io::ErrorKind::AddrInUse {
        let next = address.port().checked_add(1).unwrap_or(8000);
        format!("; use another port, such as {port}={next}, or {port}=0 for a free one")
    } else {
        String::new()
    };
    StartError(format!("cannot listen on {address}: {error}{instead}"))
}

/// The memory that client connections may use, in bytes: an eighth of the limit, up to a maximum. They take
/// up to twice of what is counted, as buffers grow by doubling.
fn memory_budget(limit: Option<u64>) -> usize {
    const MOST: u64 = 256 * 1024 * 1024;
    let budget = limit.map_or(MOST, |limit| (limit / 8).min(MOST));
    usize::try_from(budget).unwrap_or(usize::MAX)
}

async fn shut_down(listeners: Listeners, dependencies: &Dependencies) {
    let Listeners {
        main,
        operations,
        administration,
    } = listeners;
    let http = &dependencies.settings.http;
    // The service is not ready any more; wait until the load balancer has noticed.
    tokio::time::sleep(http.shutdown_delay).await;
    dependencies.lifecycle.close_connections();
    let begun = clock::monotonic();
    let administration = async {
        match administration {
            Some(administration) => administration.stop(http.shutdown_grace).await,
            None => true,
        }
    };
    let (main, administration) = tokio::join!(main.stop(http.shutdown_grace), administration);
    let stopped = main && administration;
    let rest = || http.shutdown_grace.saturating_sub(clock::since(begun));
    let drained = dependencies.lifecycle.drain(rest()).await;
    if !stopped || !drained {
        tracing::warn!("grace period exceeded, requests in flight cut");
    }
    if let Some(operations) = operations {
        // Last, so that probes and scrapes are served until the end.
        operations.stop(rest()).await;
    }
    if tokio::time::timeout(CLOSE_LIMIT, dependencies.database.close())
        .await
        .is_err()
    {
        tracing::warn!("database connections not closed in time");
    }
    tracing::info!("stopped");
}

/// Warns of hashes that leave little time for the rest of a request.
fn warn_of_slow_hashes(settings: &Settings, hasher: &Pool) {
    if hasher.one_hash() > settings.http.request_timeout / 2 {
        tracing::warn!(
            one_hash_ms = hasher.one_hash().as_millis(),
            "BCRYPT_COST high: a hash takes more than half of REQUEST_TIMEOUT_MS"
        );
    }
}

/// Warns of settings that are allowed, but risky.
fn warn_of_risks(settings: &Settings) {
    if settings.hashing.cost < LOW_COST {
        tracing::warn!(
            cost = settings.hashing.cost,
            "BCRYPT_COST low: a stolen hash would be cheap to guess"
        );
    }
    if settings.signup_rate.is_none() && !settings.http.is_on_loopback() {
        tracing::warn!(
            host = %settings.http.host,
            "RATE_LIMIT_SIGNUP is off, and HOST is not a loopback address: \
             one client may send any number of signups"
        );
    }
    let redis = settings.redis.as_ref().map(RedisUrl::expose);
    if redis.is_some_and(is_in_clear) {
        tracing::warn!(
            "Redis is on another host, by redis://: its password may travel in clear; use rediss://"
        );
    }
    let collector = settings.traces.endpoint.as_ref();
    if collector.is_some_and(|endpoint| is_in_clear(endpoint.expose_secret())) {
        tracing::warn!(
            "traces go to another host by http://: client data can be read in transit; use \
             https://"
        );
    }
    if settings.auth.open_reads && !settings.http.is_on_loopback() {
        tracing::warn!(
            "READS is open, and HOST is not a loopback address: a party that reaches the port can list \
             all users"
        );
    }
    // Only an address of this machine may be without TLS.
    let is_own = settings.auth.public_url.starts_with("http://");
    if is_own && !settings.http.is_on_loopback() {
        tracing::warn!(
            public_url = settings.auth.public_url,
            "PUBLIC_URL names this machine, and HOST is not a loopback address: other services cannot \
             fetch the keys of access tokens from their issuer"
        );
    }
    let is_unset = settings.auth.public_url == DEFAULT_PUBLIC_URL;
    let port = settings.http.port;
    // A port of 0 is that of a test.
    let is_another = port != 0 && !DEFAULT_PUBLIC_URL.ends_with(&format!(":{port}"));
    if is_unset && settings.http.is_on_loopback() && is_another {
        tracing::warn!(
            public_url = settings.auth.public_url,
            port,
            "PUBLIC_URL names another port than PORT: links in mails lead there, so set it"
        );
    }
    if settings.idempotency.ttl < settings.http.request_timeout {
        tracing::warn!(
            "IDEMPOTENCY_TTL_SECONDS is shorter than REQUEST_TIMEOUT_MS: a slow signup's key may \
             expire before it is retried"
        );
    }
}

/// Opens the database, after the pending migrations if the settings say so.
///
/// # Errors
/// One line that says what to fix: also where migrations are pending.
pub async fn open_database(
    settings: &Settings,
    readable: &[&'static Statement],
    metrics: &Metrics,
    lifecycle: &Lifecycle,
) -> Result<Database, StartError> {
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
    let database = Database::connect(settings, metrics, lifecycle.tasks().clone()).await?;
    let pending = migrate::pending(&database).await.map_err(|error| {
        StartError(format!(
            "cannot read the migrations of {}: {}",
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
    if let Err(reason) = database.check_readable(readable).await {
        let place = match &settings.database.read_url {
            Some(replica) => database::describe(replica),
            None => database::describe(url),
        };
        database.close().await;
        return Err(StartError(format!("{place}: {reason}")));
    }
    Ok(database)
}

/// Reads the list of breached passwords, if one is configured. It takes some seconds if it is a large one.
async fn open_breached(
    settings: &Settings,
    machine: &Machine,
    metrics: &Metrics,
) -> Result<Option<Arc<Breached>>, StartError> {
    let metrics = BreachedMetrics::new(metrics)
        .map_err(|error| StartError(format!("cannot register metrics: {error}")))?;
    let Some(path) = settings.passwords.breached_file.clone() else {
        return Ok(None);
    };
    let in_memory = breached::in_memory(settings.passwords.breached_memory, machine.memory_limit());
    let begun = clock::monotonic();
    let reading = tokio::task::spawn_blocking(move || Breached::open(&path, in_memory, metrics));
    let list = reading.await.map_err(|error| error.to_string());
    let list = list.and_then(|list| list).map_err(StartError)?;
    let (date, passwords, place) = list.in_use();
    let duration_ms = clock::since(begun).as_millis();
    tracing::info!(date = %date.date_naive(), passwords, place, duration_ms, "breached passwords read");
    Ok(Some(Arc::new(list)))
}

/// Connects to Redis, if configured, and watches it in the background. The service also starts
/// without it.
async fn open_redis(
    settings: &Settings,
    metrics: &Metrics,
    lifecycle: &Lifecycle,
) -> Result<Option<Redis>, StartError> {
    let Some(url) = &settings.redis else {
        return Ok(None);
    };
    let redis = Redis::new(url, metrics.clone()).map_err(StartError)?;
    if let Err(reason) = redis.probe().await {
        tracing::warn!(reason, "redis unavailable, starting without it");
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

/// The keys of tokens.
async fn open_tokens(
    settings: &Settings,
    database: &Database,
    clock: &Arc<dyn Clock>,
    randomness: &dyn Randomness,
) -> Result<Arc<Tokens>, StartError> {
    let auth = &settings.auth;
    let secrets = TokenSecrets::open_or_create(auth, &settings.database.url, randomness)
        .map_err(|error| StartError(error.to_string()))?;
    let secrets = Arc::new(secrets);
    let (database, shared) = (database.clone(), Arc::clone(&secrets));
    let keyring = Keyring::open(database, shared, auth, Arc::clone(clock))
        .await
        .map_err(|error| StartError(error.to_string()))?;
    let keyring = Arc::new(keyring);
    let issuer = auth.public_url.clone();
    let parties = Parties {
        audience: auth
            .token_audience
            .clone()
            .unwrap_or_else(|| issuer.clone()),
        issuer,
    };
    let access = AccessTokens::new(Arc::clone(&keyring), parties, Arc::clone(clock));
    Ok(Arc::new(Tokens {
        secrets,
        keyring,
        access,
    }))
}

/// The secrets from the settings, or the secret file beside an embedded database.
fn open_secrets(settings: &Settings, randomness: &dyn Randomness) -> Result<Secrets, SecretError> {
    let previous = settings.idempotency.secret_previous.clone();
    let url = &settings.database.url;
    match (&settings.idempotency.secret, url.backend) {
        (Some(secret), _) => Ok(Secrets::new(secret.clone(), previous)),
        (None, Backend::Postgres) => Err(SecretError::Missing),
        (None, Backend::Sqlite) => {
            let path = secret_file::beside(url, ".idempotency-secret");
            Secrets::from_file(&path, randomness, previous)
        }
    }
}

/// The folder whose disk usage counts: the database's, or the working directory.
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
