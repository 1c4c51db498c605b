//! `migrate`: up, status and down, with their progress on the terminal.

use std::io::{IsTerminal, Write};

use super::Failure;
use crate::config::DatabaseUrl;
use crate::platform::database::migrate::{self, Progress, State, Step};
use crate::platform::database::{Unusable, describe};

impl From<Unusable> for Failure {
    fn from(error: Unusable) -> Self {
        Self::new(&error)
    }
}

/// Applies what is pending.
pub async fn up(url: &DatabaseUrl) -> Result<(), Failure> {
    let applied = migrate::up(url, &mut |progress| show(url, &progress, "applying")).await?;
    match applied {
        0 => println!("nothing to do: every migration is applied"),
        1 => println!("1 migration applied"),
        n => println!("{n} migrations applied"),
    }
    Ok(())
}

/// Says what is applied and what is pending.
pub async fn status(url: &DatabaseUrl) -> Result<(), Failure> {
    let steps = migrate::status(url).await?;
    println!("{}", describe(url));
    for step in &steps {
        let state = match step.state {
            State::Applied => "applied",
            State::Pending => "pending",
            State::Changed => "changed",
            State::Unknown => "unknown",
        };
        println!("  {state}  {}", name(step));
    }
    let pending = steps.iter().filter(|step| step.state == State::Pending);
    println!("{} pending of {}", pending.count(), steps.len());
    Ok(())
}

/// Takes back the newest step, after asking.
pub async fn down(url: &DatabaseUrl, yes: bool) -> Result<(), Failure> {
    let Some(step) = migrate::newest(url).await? else {
        println!("nothing to take back: no migration is applied");
        return Ok(());
    };
    if !yes && !asked(url, &step)? {
        return Err(Failure::new(&"nothing was changed"));
    }
    migrate::down(url, &step, &mut |progress| {
        show(url, &progress, "taking back");
    })
    .await?;
    println!("1 migration taken back");
    Ok(())
}

fn asked(url: &DatabaseUrl, step: &Step) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(
            &"there is no terminal to ask on; say --yes to take the migration back",
        ));
    }
    print!(
        "Take back {} on {}? What its tables hold is lost. [y/N] ",
        name(step),
        describe(url)
    );
    let _ = std::io::stdout().flush();
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|error| Failure::new(&error))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn show(url: &DatabaseUrl, progress: &Progress<'_>, doing: &str) {
    match progress {
        Progress::Locking => println!("{}", describe(url)),
        Progress::Running(step) => {
            print!("  {doing} {} … ", name(step));
            let _ = std::io::stdout().flush();
        }
        Progress::Done(_, took) => println!("done in {} ms", took.as_millis()),
    }
}

fn name(step: &Step) -> String {
    format!("{:04} {}", step.version, step.description)
}
