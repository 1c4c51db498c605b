//! The command line.

mod healthcheck;
mod migrate;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::app::Service;
use crate::config::{LogFormat, Settings};
use crate::lifecycle::{self, Lifecycle};
use crate::platform::metrics::Metrics;
use crate::platform::telemetry;
use crate::slices;

/// Wrong usage or wrong settings.
const USAGE: u8 = 2;

/// Makes accounts exactly once, and reads them back.
///
/// Started with nothing, it serves on 127.0.0.1, port 8000, with an embedded SQLite database
/// under data/. Settings come from the environment or a TOML file; docs/settings.md lists them.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help = "A TOML file with settings; the environment wins over it [env: SIGNUP_CONFIG]"
    )]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  signup-service
      Serve with SQLite on 127.0.0.1:8000.
  PORT=8080 signup-service serve
      The same on another port.
  DATABASE_URL=postgres://signup@localhost/signup signup-service migrate
      Bring a PostgreSQL database up to date, before serving from it.";

#[derive(Subcommand)]
enum Command {
    /// Serve HTTP (the default)
    Serve,
    /// Apply the pending migrations, or look at them, or take one back
    Migrate {
        #[command(subcommand)]
        action: Option<MigrateAction>,
    },
    /// Ask /health of the running service; exit 0 if it answers, else 1
    ///
    /// For a container without curl. It asks HOST and PORT of the settings.
    Healthcheck,
    /// Print the OpenAPI document, as docs/openapi.json has it
    Openapi,
    /// Print the reference of all settings, as docs/settings.md has it
    Settings,
}

#[derive(Subcommand)]
enum MigrateAction {
    /// Apply the pending migrations (the default)
    Up,
    /// Say what is applied and what is pending
    Status,
    /// Take back the newest migration, after asking. What its tables hold is lost
    Down {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// A command that failed: one line for the terminal, and the exit code.
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
}

/// Runs the command line.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("signup-service: {}", failure.text);
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let print = |text: &str| {
        // A reader that has seen enough closes the pipe; that is no failure.
        let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
        Ok(())
    };
    match cli.command {
        Some(Command::Openapi) => return print(&slices::openapi_text()),
        Some(Command::Settings) => return print(&crate::config::reference()),
        _ => {}
    }
    let settings = Settings::load(cli.config.as_deref(), std::io::stdout().is_terminal()).map_err(
        |mistakes| Failure {
            text: mistakes.to_string(),
            // A container platform knows two answers of a health check.
            code: if matches!(cli.command, Some(Command::Healthcheck)) {
                1
            } else {
                USAGE
            },
        },
    )?;
    match cli.command {
        None | Some(Command::Serve) => block_on(serve(settings)),
        Some(Command::Migrate { action }) => block_on(async {
            let url = &settings.database.url;
            match action.unwrap_or(MigrateAction::Up) {
                MigrateAction::Up => migrate::up(url).await,
                MigrateAction::Status => migrate::status(url).await,
                MigrateAction::Down { yes } => migrate::down(url, yes).await,
            }
        }),
        Some(Command::Healthcheck) => healthcheck::ask(&settings.http),
        Some(Command::Openapi | Command::Settings) => Ok(()),
    }
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(&format!("cannot start the runtime: {error}")))?;
    runtime.block_on(work)
}

async fn serve(settings: Settings) -> Result<(), Failure> {
    let metrics = Metrics::new().map_err(|error| Failure::new(&error))?;
    let _telemetry = telemetry::start(&settings.log, &settings.traces, &metrics)
        .map_err(|error| Failure::new(&error))?;
    let format = settings.log.format;
    let lifecycle = Lifecycle::new(tokio::runtime::Handle::current());
    lifecycle::listen_for_signals(&lifecycle).map_err(|error| Failure::new(&error))?;
    tracing::info!("starting");
    let slices = slices::all();
    let service = tokio::select! {
        started = Service::start(settings, &slices, lifecycle.clone(), metrics) => {
            started.map_err(|error| Failure::new(&error))?
        }
        () = lifecycle.stopping() => {
            tracing::info!("stopped before it was ready");
            return Ok(());
        }
    };
    if format == LogFormat::Pretty {
        welcome(service.address);
    }
    service.run().await.map_err(|error| Failure::new(&error))
}

/// What a new user needs to go on.
fn welcome(address: std::net::SocketAddr) {
    eprintln!(
        "\n  signup-service listens on http://{address}\n  \
         docs:  http://{address}/docs\n  \
         try:   curl -i http://{address}/signup -H 'Content-Type: application/json' \
         -d '{{\"name\":\"Ada Lovelace\",\"email\":\"ada@example.org\",\
         \"password\":\"correct horse battery staple\"}}'\n  \
         stop:  ctrl-c\n"
    );
}
