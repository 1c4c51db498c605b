//! A signup service: accounts are made exactly once, whatever crashes, and read from a projection that is
//! kept in the same transaction.
//!
//! The binary `signup-service` is [`cli::run`]. This library is what it is made of, so that tests and
//! benchmarks can start the service or a part of it; it is not published, and its API changes with the
//! service.
//!
//! # Usage
//!
//! [`app::Service`] joins settings, slices and a clock. Here on a temporary SQLite, on a free port:
//!
//! ```
//! use std::sync::Arc;
//!
//! use signup_service::app::Service;
//! use signup_service::config::{Settings, Sources};
//! use signup_service::lifecycle::Lifecycle;
//! use signup_service::platform::clock::SystemClock;
//! use signup_service::platform::metrics::Metrics;
//! use signup_service::slices;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let database = format!("sqlite://{}/signup.db", folder.path().display());
//! let settings = [("DATABASE_URL", database.as_str()), ("PORT", "0"), ("BCRYPT_COST", "4")];
//! let settings = Settings::from_sources(Sources::given(&settings, "")?, false)?;
//!
//! let lifecycle = Lifecycle::new(tokio::runtime::Handle::current());
//! let slices = slices::all();
//! let clock = Arc::new(SystemClock);
//! let service = Service::start(settings, &slices, lifecycle.clone(), Metrics::new()?, clock).await?;
//! let url = format!("http://{}/signup", service.address);
//! let running = tokio::spawn(service.run());
//!
//! // Sent twice with one key, a signup makes one account.
//! let signup = reqwest::Client::new()
//!     .post(url)
//!     .header("Idempotency-Key", "8e03978e-40d5-43dd-bc93-6894a57f9324")
//!     .json(&serde_json::json!({
//!         "name": "Ada Lovelace",
//!         "email": "ada@example.org",
//!         "password": "correct horse battery staple",
//!     }));
//! let first = signup.try_clone().ok_or("a body in memory")?.send().await?;
//! let second = signup.send().await?;
//! assert_eq!(first.status(), 201);
//! assert_eq!(second.headers()["idempotent-replayed"], "true");
//! assert_eq!(first.bytes().await?, second.bytes().await?);
//!
//! lifecycle.stop();
//! running.await??;
//! # Ok(())
//! # }
//! ```
//!
//! # Map
//!
//! Imports run downwards; `tests/architecture.rs` has the rules.
//!
//! | module | what it has |
//! |---|---|
//! | [`cli`] | the commands: serve, migrate, healthcheck, users, keys and breached, and the reference pages |
//! | [`app`] | the composition root: builds [`Dependencies`](dependencies::Dependencies), starts and stops the service |
//! | [`slices`] | the uses of the service, a folder each, by area: `accounts`, `sessions`, `administration`, `people`, `operations` |
//! | [`slice`](mod@slice), [`access`], [`dependencies`] | what a slice returns, who may call an operation, what a slice may use |
//! | [`breached`] | breached passwords: their file, the look-up, the hasher that refuses them |
//! | `attempts` | attempts at passwords: throttled, the same work for every address |
//! | `mail` | mails: a queue that commits with their cause, delivery, templates; without HTTP |
//! | [`http`] | the HTTP transport: server, connections, middleware, operations, problems, the OpenAPI document |
//! | [`idempotency`] | keys and the outcomes recorded for them, without HTTP |
//! | [`tokens`] | access, refresh and device tokens, service keys, signing keys; without HTTP |
//! | [`hashing`] | password hashing: queue, threads, lanes, formats |
//! | [`lifecycle`] | from a signal to the end of the process |
//! | [`platform`] | the ground floor: database, Redis, telemetry, metrics, clock, tasks |
//! | [`config`] | the settings, a file a group |
//! | [`domain`] | values that are valid: ids, addresses, names, passwords |
//!
//! # Concepts
//!
//! - A [`Slice`](slice::Slice) is one use of the service, from its operation to its statements. A slice
//!   knows its area and what is below, never another slice.
//! - An [`Operation`](http::operation::Operation) is data: method, path, [`Access`](access::Access), limits,
//!   handler, documentation. What holds for all of them (405, deadline, rate limit, OpenAPI) follows from it.
//! - A [`Statement`](platform::database::Statement) is one text for both databases. A
//!   [`UnitOfWork`](platform::database::UnitOfWork) is what commits together;
//!   [`Database::write`](platform::database::Database::write) owns its task, time limit, retries and end.
//! - A command comes to an *outcome*, an enum. Where its operation is keyed, the outcome is recorded in the
//!   transaction of the work ([`idempotency`]), and rendered by the transport in the same way, fresh or replayed.
//! - A request belongs to a [`RequestContext`](platform::context::RequestContext): its ids, client, deadline
//!   and trace.
//!
//! `docs/` has the rest: a tutorial, how-to guides, the reference and the explanations.

// They panic where the stream takes nothing. Commands write through `cli::terminal`, the service
// through its log.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod access;
pub mod app;
mod attempts;
pub mod breached;
pub mod cli;
pub mod config;
pub mod dependencies;
pub mod http;
pub mod lifecycle;
mod mail;
pub mod slice;
pub mod slices;

pub mod domain;
pub mod hashing;
pub mod idempotency;
pub mod platform;
pub mod tokens;
