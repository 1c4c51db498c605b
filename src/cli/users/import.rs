//! `users import`: accounts from another service. What a line is, and what commits together, is in
//! [`slices::accounts::import`](crate::slices::accounts::import).

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::cli::operator::{Operator, print};
use crate::cli::progress::Progress;
use crate::cli::{Failure, private, terminal};
use crate::config::Settings;
use crate::platform::clock::{Clock, SystemClock};
use crate::platform::database::Database;
use crate::slices::accounts::import::{
    self, BATCH, Batch, Entry, MAX_LINE, Outcome, Refusal, State,
};

/// How long a batch may take: its statements go over the network one by one.
const PATIENCE: Duration = Duration::from_mins(1);

/// Refused lines that are named on standard error.
const SHOWN: u64 = 20;

/// The longest name of an import, in characters.
const MAX_NAME: usize = 128;

#[derive(Args)]
pub struct Import {
    /// The file: a line of JSON for each account; - is standard input
    file: PathBuf,
    /// Only check the lines: nothing is written
    #[arg(long)]
    dry_run: bool,
    /// Grant the roles that the lines name; without it, such lines are refused
    #[arg(long)]
    allow_roles: bool,
    /// The name of the import, by which it goes on after it was interrupted; by default, the digest of the
    /// file. Standard input needs one
    #[arg(long = "import-id", value_name = "NAME")]
    name: Option<String>,
    /// Write the numbers of refused lines and the reasons to this file, as lines of JSON
    #[arg(long, value_name = "FILE")]
    refused: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(mut settings: Settings, import: Import) -> Result<(), Failure> {
    private::protect_memory();
    let name = name(&import)?;
    let report = Report::open(import.refused.as_deref())?;
    let (input, size) = open(&import.file)?;
    settings.http.request_timeout = settings.http.request_timeout.max(PATIENCE);
    let operator = Operator::open(settings).await?;
    let run = Run {
        database: operator.database.clone(),
        lines: Lines::new(input),
        progress: Progress::new(size),
        report,
        name,
        imported: 0,
        refused: 0,
        resumed_at: None,
    };
    let outcome = run.run(&import).await;
    operator.close(outcome).await
}

/// The name of the import: the one given, or the digest of the file.
fn name(import: &Import) -> Result<String, Failure> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match &import.name {
        Some(name) if (1..=MAX_NAME).contains(&name.len()) && name.chars().all(is_part) => {
            Ok(name.clone())
        }
        Some(_) => Err(Failure::usage(
            &"--import-id: 1 to 128 letters, digits, ., _ and -",
        )),
        // It is not recorded.
        None if import.dry_run => Ok("dry-run".to_owned()),
        None if import.file.as_os_str() == "-" => Err(Failure::usage(
            &"an import from standard input needs --import-id, by which it can go on after it was interrupted",
        )),
        None => digest(&import.file),
    }
}

fn digest(path: &Path) -> Result<String, Failure> {
    let mut digest = Sha256::new();
    let mut file = File::open(path).map_err(unreadable)?;
    let mut part = vec![0; MAX_LINE];
    loop {
        match file.read(&mut part).map_err(unreadable)? {
            0 => return Ok(hex::encode(digest.finalize())),
            length => digest.update(&part[..length]),
        }
    }
}

/// The input, and its size if it is known.
fn open(path: &Path) -> Result<(Box<dyn Read>, Option<u64>), Failure> {
    if path.as_os_str() == "-" {
        return Ok((Box::new(io::stdin()), None));
    }
    let file = File::open(path).map_err(unreadable)?;
    let about = file.metadata().map_err(unreadable)?;
    Ok((Box::new(file), about.is_file().then_some(about.len())))
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` calls it")]
fn unreadable(error: io::Error) -> Failure {
    Failure::new(&format!("cannot read the file: {error}"))
}

/// An import under way.
struct Run {
    database: Database,
    lines: Lines<Box<dyn Read>>,
    progress: Progress,
    report: Report,
    name: String,
    imported: i64,
    refused: i64,
    /// The first line that was not done before.
    resumed_at: Option<i64>,
}

impl Run {
    async fn run(mut self, import: &Import) -> Result<(), Failure> {
        if !import.dry_run
            && let Some(state) = import::find(&self.database, &self.name).await?
        {
            self.resume(state).await?;
        }
        let outcome = self.go_on(import).await;
        self.progress.clear();
        self.report.close()?;
        outcome?;
        self.summarize(import)
    }

    /// Skips what is done, and reports its refused lines again.
    async fn resume(&mut self, state: State) -> Result<(), Failure> {
        let mut line = Vec::new();
        while self.lines.number + 1 < state.next_line {
            if self.lines.read(&mut line).map_err(unreadable)?.is_none() {
                break;
            }
        }
        if self.lines.number + 1 != state.next_line || self.lines.digest()[..] != state.digest {
            return Err(Failure::new(&format!(
                "the import {} began with other lines; give this one another --import-id",
                self.name
            )));
        }
        (self.imported, self.refused) = (state.imported, state.refused);
        self.resumed_at = Some(state.next_line);
        let mut after = 0;
        loop {
            let page = import::refusals(&self.database, &self.name, after).await?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = *last;
            for (line, refusal) in &page {
                self.report.add(*line, refusal, &mut self.progress)?;
            }
        }
    }

    /// Imports what is left, batch by batch.
    async fn go_on(&mut self, import: &Import) -> Result<(), Failure> {
        while let Some(batch) = self.batch(import)? {
            let writing = self.database.write(batch).await;
            let outcome = writing.map_err(|error| {
                let Failure { text, code } = error.into();
                let text = format!("{text}; repeat the command to go on");
                Failure { text, code }
            })?;
            let Outcome::Done { imported, refused } = outcome else {
                return Err(Failure::new(&"another process runs the same import"));
            };
            self.imported += imported;
            self.refused += i64::try_from(refused.len()).unwrap_or(i64::MAX);
            for (line, refusal) in &refused {
                self.report.add(*line, refusal, &mut self.progress)?;
            }
            let (lines, refused) = (self.lines.number, self.refused);
            let words = format!("{lines} lines, {refused} of them refused");
            self.progress.show(self.lines.bytes, &words);
        }
        Ok(())
    }

    /// The next lines. `None` at the end.
    fn batch(&mut self, import: &Import) -> Result<Option<Batch>, Failure> {
        let change = Operator::change();
        let first = self.lines.number + 1;
        let mut line = Vec::new();
        let mut lines = Vec::with_capacity(BATCH);
        while lines.len() < BATCH {
            let entry = match self.lines.read(&mut line).map_err(unreadable)? {
                None => break,
                Some(Length::TooLong) => Err(Refusal::new("line", "too_long")),
                Some(Length::Whole) if line.iter().all(u8::is_ascii_whitespace) => continue,
                Some(Length::Whole) => Entry::parse(&line, import.allow_roles, SystemClock.now()),
            };
            lines.push((self.lines.number, entry));
        }
        // Also empty lines count as done.
        Ok((self.lines.number >= first).then(|| Batch {
            import: self.name.clone(),
            first,
            next: self.lines.number + 1,
            digest: self.lines.digest(),
            lines,
            change,
            is_dry_run: import.dry_run,
        }))
    }

    fn summarize(&self, import: &Import) -> Result<(), Failure> {
        let (imported, refused) = (self.imported, self.refused);
        let json = json!({
            "import": (!import.dry_run).then_some(&self.name),
            "dry_run": import.dry_run,
            "resumed_at": self.resumed_at,
            "imported": imported,
            "refused": refused,
        });
        let done = if import.dry_run {
            "could be imported; nothing was written"
        } else {
            "imported"
        };
        let since = match self.resumed_at {
            Some(line) => format!("; lines before {line} had been done"),
            None => String::new(),
        };
        let text = format!("{imported} accounts {done}, {refused} lines refused{since}");
        print(import.json, &json, &text)?;
        if refused > 0 {
            return Err(Failure::new(&format!("{refused} lines were refused")));
        }
        Ok(())
    }
}

/// Where refused lines are reported.
struct Report {
    file: Option<BufWriter<File>>,
    shown: u64,
}

impl Report {
    fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let file = path.map(File::create).transpose().map_err(unwritable)?;
        Ok(Self {
            file: file.map(BufWriter::new),
            shown: 0,
        })
    }

    /// Reports a line, without anything that it holds.
    fn add(&mut self, line: i64, of: &Refusal, progress: &mut Progress) -> Result<(), Failure> {
        let Refusal { field, code } = of;
        if let Some(file) = &mut self.file {
            let json = json!({ "line": line, "field": field, "code": code });
            return writeln!(file, "{json}").map_err(unwritable);
        }
        self.shown += 1;
        if self.shown > SHOWN + 1 {
            return Ok(());
        }
        progress.clear();
        terminal::error(&if self.shown <= SHOWN {
            format!("line {line}: {field}: {code}")
        } else {
            "further refused lines are not shown; --refused FILE lists all of them".to_owned()
        });
        Ok(())
    }

    /// Ends the report.
    fn close(&mut self) -> Result<(), Failure> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        file.flush().map_err(unwritable)?;
        file.get_ref().sync_all().map_err(unwritable)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` calls it")]
fn unwritable(error: io::Error) -> Failure {
    Failure::new(&format!("cannot write the report: {error}"))
}

/// Whether a line was kept.
#[derive(Debug, PartialEq, Eq)]
enum Length {
    Whole,
    /// It has more than [`MAX_LINE`] bytes, which were skipped.
    TooLong,
}

/// Reads lines, each into no more than [`MAX_LINE`] bytes of memory.
struct Lines<R> {
    input: BufReader<R>,
    /// Of all lines so far, each with a line break.
    digest: Sha256,
    /// Lines so far.
    number: i64,
    /// Bytes so far.
    bytes: u64,
}

impl<R: Read> Lines<R> {
    fn new(input: R) -> Self {
        Self {
            input: BufReader::with_capacity(MAX_LINE, input),
            digest: Sha256::new(),
            number: 0,
            bytes: 0,
        }
    }

    /// Reads the next line, without its line break. `None` at the end.
    fn read(&mut self, line: &mut Vec<u8>) -> io::Result<Option<Length>> {
        line.clear();
        let (mut length, mut is_begun) = (Length::Whole, false);
        loop {
            let part = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                part => part?,
            };
            if part.is_empty() && !is_begun {
                return Ok(None);
            }
            is_begun = true;
            let end = part.iter().position(|byte| *byte == b'\n');
            let text = &part[..end.unwrap_or(part.len())];
            self.digest.update(text);
            if line.len() + text.len() > MAX_LINE {
                length = Length::TooLong;
            } else if length == Length::Whole {
                line.extend_from_slice(text);
            }
            let is_last = end.is_some() || part.is_empty();
            let used = text.len() + usize::from(end.is_some());
            self.bytes += u64::try_from(used).unwrap_or(0);
            self.input.consume(used);
            if is_last {
                self.digest.update(b"\n");
                self.number += 1;
                return Ok(Some(length));
            }
        }
    }

    /// The digest of the lines so far.
    fn digest(&self) -> [u8; 32] {
        self.digest.clone().finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> (Vec<(Length, usize)>, Lines<&[u8]>) {
        let mut lines = Lines::new(text);
        let (mut line, mut found) = (Vec::new(), Vec::new());
        while let Some(length) = lines.read(&mut line).expect("in memory") {
            found.push((length, line.len()));
        }
        (found, lines)
    }

    #[test]
    fn lines_are_bounded_and_the_next_one_is_whole() {
        use Length::{TooLong, Whole};
        assert_eq!(read(b"").0, []);
        assert_eq!(read(b"\n\nab").0, [(Whole, 0), (Whole, 0), (Whole, 2)]);
        let long = [vec![b'a'; 10 * MAX_LINE + 7], b"\nab\n".to_vec()].concat();
        let (found, lines) = read(&long);
        assert_eq!(found[0].0, TooLong);
        assert!(found[0].1 <= MAX_LINE);
        assert_eq!(found[1..], [(Whole, 2)]);
        assert_eq!(
            (lines.number, lines.bytes),
            (2, u64::try_from(long.len()).expect("few"))
        );
        let most = vec![b'a'; MAX_LINE];
        assert_eq!(read(&most).0, [(Whole, MAX_LINE)]);
        let more = vec![b'a'; MAX_LINE + 1];
        assert_eq!(read(&more).0[0].0, TooLong);
    }

    #[test]
    fn the_digest_is_of_the_lines_and_the_last_break_does_not_matter() {
        let digest = |text: &[u8]| read(text).1.digest();
        assert_eq!(digest(b"a\nb"), digest(b"a\nb\n"));
        assert_ne!(digest(b"a\nb"), digest(b"a\nc"));
        assert_ne!(digest(b"a\nb"), digest(b"ab"));
    }
}
