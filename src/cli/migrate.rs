//! `migrate`: up, status and down, with their progress on the terminal.

use std::fmt::Write;
use std::io::IsTerminal;
use std::process::ExitCode;

use super::{Failure, terminal};
use crate::config::DatabaseUrl;
use crate::platform::database::migrate::{self, Progress, State, Step};
use crate::platform::database::{ConnectError, describe};

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::new(&error)
    }
}

/// With `--exit-code`: the database is not up to date with this binary.
const NOT_UP_TO_DATE: u8 = 3;

/// Applies the pending migrations, even if their progress cannot be written.
pub async fn up(url: &DatabaseUrl) -> Result<(), Failure> {
    let applied = migrate::up(url, &mut |progress| show(url, &progress, "applying")).await?;
    terminal::progress(&match applied {
        0 => "nothing to do: every migration is applied".to_owned(),
        1 => "1 migration applied".to_owned(),
        n => format!("{n} migrations applied"),
    });
    Ok(())
}

/// Prints the state of each migration; with `exit_code`, also reports it by the exit status.
pub async fn status(url: &DatabaseUrl, exit_code: bool) -> Result<ExitCode, Failure> {
    let steps = migrate::status(url).await?;
    let mut page = format!("{}\n", describe(url));
    for step in &steps {
        let state = match step.state {
            State::Applied => "applied",
            State::Pending => "pending",
            State::Changed => "changed",
            State::Unknown => "unknown",
        };
        let _ = writeln!(page, "  {state}  {}", name(step));
    }
    let pending = steps.iter().filter(|step| step.state == State::Pending);
    let _ = write!(page, "{} pending of {}", pending.count(), steps.len());
    terminal::result(&page)?;
    let up_to_date = steps.iter().all(|step| step.state == State::Applied);
    Ok(if exit_code && !up_to_date {
        ExitCode::from(NOT_UP_TO_DATE)
    } else {
        ExitCode::SUCCESS
    })
}

/// Reverts the newest migration, after confirmation.
pub async fn down(url: &DatabaseUrl, yes: bool) -> Result<(), Failure> {
    let Some(step) = migrate::newest(url).await? else {
        terminal::progress("nothing to revert: no migration is applied");
        return Ok(());
    };
    if !yes && !confirm(url, &step)? {
        return Err(Failure::new(&"nothing was changed"));
    }
    migrate::down(url, &step, &mut |progress| {
        show(url, &progress, "reverting");
    })
    .await?;
    terminal::progress("1 migration reverted");
    Ok(())
}

fn confirm(url: &DatabaseUrl, step: &Step) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(
            &"no terminal to confirm on; use --yes to revert the migration",
        ));
    }
    let question = format!(
        "Revert {} on {}? The data in its tables is lost. [y/N] ",
        name(step),
        describe(url)
    );
    // A prompt that was not shown cannot be confirmed.
    terminal::prompt(&question)
        .map_err(|error| Failure::new(&format!("cannot prompt, nothing was changed: {error}")))?;
    let mut input = String::new();
    std::io::stdin()
        .read_line(&mut input)
        .map_err(|error| Failure::new(&error))?;
    Ok(matches!(input.trim(), "y" | "Y" | "yes"))
}

fn show(url: &DatabaseUrl, progress: &Progress<'_>, doing: &str) {
    match progress {
        Progress::Locking => terminal::progress(&describe(url)),
        Progress::Running(step) => {
            terminal::begin_progress(&format!("  {doing} {} … ", name(step)));
        }
        Progress::Done(_, took) => {
            terminal::progress(&format!("done in {} ms", took.as_millis()));
        }
    }
}

fn name(step: &Step) -> String {
    format!("{:04} {}", step.version, step.description)
}
