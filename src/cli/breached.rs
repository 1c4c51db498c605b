//! `breached`: the file of breached passwords. It needs neither a database nor settings.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::operator::day;
use super::{Failure, terminal};
use crate::breached::build::{self, Built, MAX_LEAST, Select};
use crate::platform::descriptors;

/// Passwords of a file unless another number is given.
const TOP: &str = "10000000";

#[derive(Subcommand)]
pub enum Action {
    /// Make the file for `BREACHED_PASSWORDS_FILE` of a list
    ///
    /// The list is that of Pwned Passwords, whose lines are SHA1:count, or has one password a line. A running service
    /// takes the new file within seconds.
    Build(Build),
}

#[derive(Args)]
pub struct Build {
    /// The list, unpacked
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The file to make; one of that name is replaced in one step
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Take so many passwords: those with the highest counts, or the first ones of a list without counts
    #[arg(long, value_name = "N", default_value = TOP, value_parser = clap::value_parser!(u64).range(1..))]
    top: u64,
    /// Take the passwords with at least this count instead
    #[arg(long, value_name = "N", conflicts_with = "top", value_parser = clap::value_parser!(u64).range(1..=MAX_LEAST))]
    min_count: Option<u64>,
}

/// Runs the command.
pub fn run(action: &Action) -> Result<(), Failure> {
    let Action::Build(arguments) = action;
    let select = arguments
        .min_count
        .map_or(Select::Top(arguments.top), Select::MinCount);
    if arguments.out.file_name().is_none() {
        return Err(Failure::usage(&"--out must name a file"));
    }
    // A file for each shard is open.
    let _ = descriptors::raise();
    let shows = std::io::stdout().is_terminal();
    let mut progress = |doing: &str, percent: u64| {
        if shows {
            // Over the line before.
            terminal::begin_progress(&format!("\r{doing} … {percent:>3} %"));
        }
    };
    let built = build::build(&arguments.from, select, &arguments.out, &mut progress);
    if shows {
        terminal::progress("");
    }
    let built = built.map_err(|error| Failure::new(&error))?;
    terminal::result(&report(&built, &arguments.out))
}

fn report(built: &Built, out: &Path) -> String {
    let Built {
        passwords, bytes, ..
    } = built;
    let mut text = format!(
        "{passwords} passwords of {} in {bytes} bytes: {}",
        day(built.date),
        out.display()
    );
    if built.skipped > 0 {
        let skipped = built.skipped;
        let _ = write!(
            text,
            "\n{skipped} lines skipped: too long for a password, or not UTF-8"
        );
    }
    text
}
