//! The command line: its commands and exit statuses.
//!
//! 0 is success, 1 a failure, 2 wrong usage or invalid settings. `docs/reference/command-line.md` has the
//! rest, and a row for each command: to add one, extend [`Command`], [`dispatch`] and that page.

mod breached;
mod erase;
mod healthcheck;
mod keys;
mod migrate;
mod operator;
mod private;
mod progress;
mod reference;
mod service_keys;
mod terminal;
mod users;

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};

use crate::app::Service;
use crate::config::{self, LogFormat, Settings};
use crate::lifecycle::{self, Lifecycle};
use crate::platform::clock::{Randomness, SystemClock, SystemRandomness};
use crate::platform::metrics::Metrics;
use crate::platform::telemetry;
use crate::slices;

/// Wrong usage or invalid settings.
const USAGE: u8 = 2;

/// Stopped by a second signal.
const INTERRUPTED: i32 = 130;

/// Creates accounts exactly once, and reads them back.
///
/// Without options, it serves on 127.0.0.1, port 8000, with an embedded SQLite database under
/// data/. Settings come from the options below, the environment or a TOML file, in this order;
/// docs/reference/settings.md lists them.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help = "A TOML file with settings; the environment takes precedence [env: SIGNUP_CONFIG]"
    )]
    config: Option<PathBuf>,

    #[arg(
        long,
        global = true,
        value_name = "ADDRESS",
        help = "The IP address to listen on, or localhost [env: HOST]"
    )]
    host: Option<String>,

    #[arg(
        long,
        global = true,
        value_name = "PORT",
        help = "The port to listen on; 0 picks a free one [env: PORT]"
    )]
    port: Option<String>,

    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  signup-service
      Serve with SQLite on 127.0.0.1:8000.
  signup-service --port 8080
      The same on another port.
  DATABASE_URL=postgres://signup@localhost/signup signup-service migrate
      Bring a PostgreSQL database up to date, before serving from it.
  signup-service users create --email ada@example.org --name Ada --role admin
      Create the first administrator; asks for the password.

Exit status: 0 success, 1 failure, 2 wrong usage or invalid settings.";

#[derive(Subcommand)]
enum Command {
    /// Serve HTTP (the default)
    Serve,
    /// Apply the pending migrations, show their status, or revert the newest
    Migrate {
        #[command(subcommand)]
        action: Option<MigrateAction>,
    },
    /// Create, import and export users, grant and revoke roles, suspend and activate users; no running service is needed
    Users {
        #[command(subcommand)]
        action: users::Action,
    },
    /// List, rotate and revoke the keys that sign access tokens
    Keys {
        #[command(subcommand)]
        action: keys::Action,
    },
    /// Create, list, rotate and revoke the keys of other services
    ServiceKeys {
        #[command(subcommand)]
        action: service_keys::Action,
    },
    /// Make the file of breached passwords that the service refuses
    Breached {
        #[command(subcommand)]
        action: breached::Action,
    },
    /// Check /health of the running service; exit 0 if it is healthy, else 1
    ///
    /// For a container without curl. It uses HOST and PORT of the settings.
    Healthcheck,
    /// Print the OpenAPI document, the content of docs/reference/openapi.json
    Openapi,
    /// Print the reference of all settings, the content of docs/reference/settings.md
    Settings,
    /// Print a page of docs/reference
    Reference {
        /// Which page
        page: reference::Page,
    },
}

#[derive(Subcommand)]
enum MigrateAction {
    /// Apply the pending migrations (the default)
    Up,
    /// Show which migrations are applied and which are pending
    Status {
        /// Exit 3 if the database is not up to date: a migration is pending, changed or unknown
        #[arg(long)]
        exit_code: bool,
    },
    /// Revert the newest migration, after confirmation. The data in its tables is lost
    Down {
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
}

/// A failed command: one line for the terminal, and the exit code.
struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    fn new(error: &dyn std::fmt::Display) -> Self {
        Self {
            text: error.to_string(),
            code: 1,
        }
    }

    /// Wrong usage that the parser of arguments did not find.
    fn usage(error: &dyn std::fmt::Display) -> Self {
        Self {
            code: USAGE,
            ..Self::new(error)
        }
    }
}

/// Runs the command line.
#[must_use]
pub fn run() -> ExitCode {
    let outcome = match Cli::try_parse() {
        Ok(cli) => dispatch(cli),
        Err(error) => help_or_usage(error),
    };
    outcome.unwrap_or_else(|failure| {
        terminal::fatal(&failure.text);
        ExitCode::from(failure.code)
    })
}

/// Prints the requested help, or the error in the arguments.
fn help_or_usage(error: clap::Error) -> Result<ExitCode, Failure> {
    if !error.use_stderr() {
        return terminal::written(error.print()).map(|()| ExitCode::SUCCESS);
    }
    // A misplaced argument may be a URL with its password.
    let text = error.render().to_string();
    let hidden = std::env::args_os()
        .skip(1)
        .filter_map(|argument| argument.into_string().ok())
        .filter(|argument| !config::may_be_shown(argument) && text.contains(argument.as_str()))
        .fold(None, |hidden: Option<String>, argument| {
            Some(
                hidden
                    .unwrap_or_else(|| text.clone())
                    .replace(&argument, "…"),
            )
        });
    terminal::in_time(move || match hidden {
        Some(text) => terminal::error(&text),
        None => drop(error.print()),
    });
    Ok(ExitCode::from(USAGE))
}

fn dispatch(cli: Cli) -> Result<ExitCode, Failure> {
    let page = match cli.command {
        Some(Command::Openapi) => Some(reference::Page::Openapi),
        Some(Command::Settings) => Some(reference::Page::Settings),
        Some(Command::Reference { page }) => Some(page),
        _ => None,
    };
    if let Some(page) = page {
        let text = page.text().map_err(|error| Failure::new(&error))?;
        return succeed(terminal::result(&text));
    }
    if let Some(Command::Breached { action }) = cli.command {
        return succeed(breached::run(&action));
    }
    let options = [
        ("http.host", "--host", cli.host),
        ("http.port", "--port", cli.port),
    ];
    let settings = Settings::load(
        cli.config.as_deref(),
        &options,
        std::io::stdout().is_terminal(),
    )
    .map_err(|mistakes| Failure {
        text: mistakes.to_string(),
        // A container platform knows only two outcomes of a health check.
        code: if matches!(cli.command, Some(Command::Healthcheck)) {
            1
        } else {
            USAGE
        },
    })?;
    match cli.command {
        None | Some(Command::Serve) => succeed(block_on(serve(settings))?),
        Some(Command::Migrate { action }) => block_on(async {
            let url = &settings.database.url;
            match action.unwrap_or(MigrateAction::Up) {
                MigrateAction::Up => succeed(migrate::up(url).await),
                MigrateAction::Status { exit_code } => migrate::status(url, exit_code).await,
                MigrateAction::Down { yes } => succeed(migrate::down(url, yes).await),
            }
        })?,
        Some(Command::Users { action }) => succeed(block_on(users::run(settings, action))?),
        Some(Command::Keys { action }) => succeed(block_on(keys::run(settings, action))?),
        Some(Command::ServiceKeys { action }) => {
            succeed(block_on(service_keys::run(settings, action))?)
        }
        Some(Command::Healthcheck) => succeed(healthcheck::run(&settings.http)),
        Some(
            Command::Openapi
            | Command::Settings
            | Command::Reference { .. }
            | Command::Breached { .. },
        ) => Ok(ExitCode::SUCCESS),
    }
}

fn succeed(outcome: Result<(), Failure>) -> Result<ExitCode, Failure> {
    outcome.map(|()| ExitCode::SUCCESS)
}

fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(&format!("cannot start the runtime: {error}")))?;
    Ok(runtime.block_on(work))
}

async fn serve(settings: Settings) -> Result<(), Failure> {
    let metrics = Metrics::new().map_err(|error| Failure::new(&error))?;
    let _telemetry = telemetry::start(&settings.log, &settings.traces, &metrics)
        .map_err(|error| Failure::new(&error))?;
    let format = settings.log.format;
    let lifecycle = Lifecycle::new(tokio::runtime::Handle::current());
    lifecycle::listen_for_signals(&lifecycle, |signal| {
        terminal::fatal(&format!("{signal} again, stopping immediately"));
        std::process::exit(INTERRUPTED);
    })
    .map_err(|error| Failure::new(&error))?;
    tracing::info!("starting");
    private::protect_memory();
    warn(&settings);
    let database = settings.database.url.clone();
    let pages = (settings.http.pages).then(|| settings.auth.public_url.clone());
    let slices = slices::all();
    let clock = Arc::new(SystemClock);
    let service = tokio::select! {
        started = Service::start(settings, &slices, lifecycle.clone(), metrics, clock) => {
            started.map_err(|error| Failure::new(&error))?
        }
        () = lifecycle.stopping() => {
            tracing::info!("stopped before ready");
            return Ok(());
        }
    };
    private::warn_of_open_files(&database);
    if format == LogFormat::Pretty {
        welcome(service.address, pages.as_deref());
    }
    service.run().await.map_err(|error| Failure::new(&error))
}

/// Warns of settings that work, but deserve a second look.
fn warn(settings: &Settings) {
    for warning in &settings.warnings {
        tracing::warn!(setting = warning.setting, "{}", warning.text);
    }
    let host = settings.http.host;
    if !host.is_loopback() {
        tracing::warn!(
            %host,
            "listening beyond loopback: reads need no token, so untrusted clients must not reach this address"
        );
    }
}

/// Prints the first steps for a new user. The pages have the host that links in mails have: what a browser keeps is
/// of one host.
fn welcome(address: SocketAddr, pages: Option<&str>) {
    let address = reachable(address);
    let pages = pages.map_or_else(String::new, |url| format!("pages: {url}/\n  "));
    // Another address at each start: each can sign up only once.
    let [a, b, c, ..] = SystemRandomness.bytes();
    terminal::notice(format!(
        "\n  signup-service listens on http://{address}\n  \
         {pages}docs:  http://{address}/docs\n  \
         try:   curl -i http://{address}/signup -H 'Content-Type: application/json' \
         -d '{{\"name\":\"Ada Lovelace\",\"email\":\"ada-{a:02x}{b:02x}{c:02x}@example.org\",\
         \"password\":\"correct horse battery staple\"}}'\n  \
         stop:  ctrl-c\n"
    ));
}

/// The address under which this machine reaches the service: a wildcard address becomes loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(host, address.port())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_page_has_every_command_and_option() {
        fn names(command: &clap::Command, path: &str, found: &mut Vec<String>) {
            let arguments = command.get_arguments().filter_map(clap::Arg::get_long);
            found.extend(arguments.map(|name| format!("--{name}")));
            for inner in command.get_subcommands() {
                let path = format!("{path}{}", inner.get_name());
                found.push(format!("`{path}"));
                names(inner, &format!("{path} "), found);
            }
        }
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/docs/reference/command-line.md"
        );
        let page = std::fs::read_to_string(path).expect("the page");
        let mut found = Vec::new();
        names(&Cli::command(), "", &mut found);
        assert!(found.len() > 10, "{found:?}");
        for name in found {
            assert!(
                page.contains(&name),
                "{name} is not in docs/reference/command-line.md"
            );
        }
    }

    #[test]
    fn a_link_works_from_this_machine() {
        for (listens, link) in [
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("192.0.2.1:80", "192.0.2.1:80"),
        ] {
            let listens: SocketAddr = listens.parse().expect("an address");
            assert_eq!(reachable(listens).to_string(), link);
        }
    }
}
