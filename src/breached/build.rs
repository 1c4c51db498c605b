//! Makes the file of breached passwords out of a list.
//!
//! The list is read as a stream, twice if the commonest have to be found. Keys are spilled to a file for each shard, so
//! the order of the list does not matter, and memory holds one shard at a time: some 34 bytes for each of its
//! passwords, at most 240 MB. The same list with the same date gives the same file.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, SubsecRound, Utc};

use super::filter::{About, MAX_SHARD, Place, SHARDS, WriteError, Writer};

/// The longest line that can be a password, in bytes: no account has a longer one.
const MAX_LINE: usize = 1024;
/// The most characters of the name of a list that are kept.
const MAX_SOURCE: usize = 200;
/// The highest least count that can be asked for.
pub const MAX_LEAST: u64 = MAX_COUNT as u64;
/// Higher counts are taken for this one: the commonest are found by a table of all counts.
const MAX_COUNT: usize = 1_000_000;
/// Bytes of a list between two reports of progress.
const STEP: u64 = 4 * 1024 * 1024;
/// The part of a list by which a compressed file is recognised, in bytes.
const HEAD: usize = 512;
/// Bytes that wait in memory for each shard.
const SPILL: usize = 16 * 1024;

/// Which passwords of a list to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Select {
    /// So many: those with the highest counts, or the first ones where there are no counts.
    Top(u64),
    /// Those with at least this count, from 1 to [`MAX_LEAST`].
    MinCount(u64),
}

/// Why no file was made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The list cannot be read.
    #[error("the list cannot be read: {0}")]
    Read(io::Error),
    /// The file cannot be written.
    #[error("the file cannot be written: {0}")]
    Write(io::Error),
    /// The list is no text, or no file.
    #[error("the list is not a file of text lines; a compressed one has to be unpacked first")]
    NoText,
    /// The list has other hashes.
    #[error("the list has hashes that are not SHA1:count; take the SHA-1 list of Pwned Passwords")]
    OtherHashes,
    /// A line is not like the first.
    #[error("line {0} of the list is not SHA1:count, as the lines before are")]
    Line(u64),
    /// The list has no counts.
    #[error("the list has no counts, so there is no least one; use --top")]
    NoCounts,
    /// Nothing is left.
    #[error("no password of the list was taken")]
    Empty,
    /// There are more than the service reads.
    #[error("too many passwords: a file has at most 1.7 billion; use a lower --top")]
    TooMany,
    /// No filter was found for some of the passwords.
    #[error("no filter was found for the passwords; with some more or fewer there is one")]
    NoFilter,
}

impl From<WriteError> for BuildError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Io(error) => Self::Write(error),
            WriteError::NoFilter => Self::NoFilter,
        }
    }
}

/// What was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Built {
    /// Different passwords of the file.
    pub passwords: u64,
    /// Its size.
    pub bytes: u64,
    /// Lines that no account can have as its password: too long, or not UTF-8.
    pub skipped: u64,
    /// The date of the list.
    pub date: DateTime<Utc>,
}

/// What is being done, and which share of it is done, from 0 to 100.
pub type Progress<'a> = dyn FnMut(&'static str, u64) + 'a;

/// Makes a file of the passwords in a list. It replaces one of that name in one step, once it is on the disk.
///
/// # Errors
/// When there is no file then; one of that name stays as it was.
pub fn build(
    from: &Path,
    select: Select,
    out: &Path,
    progress: &mut Progress<'_>,
) -> Result<Built, BuildError> {
    let list = List::open(from)?;
    let about = list.about();
    let mut spill = Spill::new(out).map_err(BuildError::Write)?;
    let skipped = match (list.kind, select) {
        (Kind::Words, Select::MinCount(_)) => return Err(BuildError::NoCounts),
        (Kind::Words, Select::Top(most)) => words(&list, most, &mut spill, progress)?,
        (Kind::Hashes, Select::MinCount(least)) => {
            let selection = Selection {
                above: least.saturating_sub(1),
                ties: 0,
            };
            hashes(&list, selection, &mut spill, progress)?;
            0
        }
        (Kind::Hashes, Select::Top(most)) => {
            let selection = commonest(&list, most, progress)?;
            hashes(&list, selection, &mut spill, progress)?;
            0
        }
    };
    let (passwords, bytes) = write(&about, spill, out, progress)?;
    Ok(Built {
        passwords,
        bytes,
        skipped,
        date: about.date,
    })
}

/// What the lines of a list are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `SHA1:count`, as Pwned Passwords has them.
    Hashes,
    /// A password each.
    Words,
}

/// A list, which can be read more than once.
struct List {
    file: File,
    length: u64,
    kind: Kind,
    name: String,
    date: DateTime<Utc>,
}

impl List {
    fn open(path: &Path) -> Result<Self, BuildError> {
        let metadata = std::fs::metadata(path).map_err(BuildError::Read)?;
        if !metadata.is_file() {
            return Err(BuildError::NoText);
        }
        let file = File::open(path).map_err(BuildError::Read)?;
        let modified = metadata.modified().map_err(BuildError::Read)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut list = Self {
            file,
            length: metadata.len(),
            kind: Kind::Words,
            name: name.chars().take(MAX_SOURCE).collect(),
            date: DateTime::<Utc>::from(modified).trunc_subsecs(0),
        };
        list.kind = list.find_kind()?;
        Ok(list)
    }

    fn about(&self) -> About {
        About::new(self.name.clone(), self.date)
    }

    /// Judges by the beginning: compressed files have a NUL there, and only a list of hashes begins with one.
    fn find_kind(&self) -> Result<Kind, BuildError> {
        let mut lines = self.lines()?;
        let begin = lines.input.fill_buf().map_err(BuildError::Read)?;
        if begin[..begin.len().min(HEAD)].contains(&0) {
            return Err(BuildError::NoText);
        }
        while let Some(line) = lines.next()? {
            if line.is_empty() {
                continue;
            }
            if hash_and_count(line).is_some() {
                return Ok(Kind::Hashes);
            }
            let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
            let has_hash = matches!(digits.count(), 32 | 40 | 64);
            return if has_hash {
                Err(BuildError::OtherHashes)
            } else {
                Ok(Kind::Words)
            };
        }
        Err(BuildError::Empty)
    }

    /// Its lines, from the beginning.
    fn lines(&self) -> Result<Lines<BufReader<&File>>, BuildError> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0)).map_err(BuildError::Read)?;
        Ok(Lines {
            input: BufReader::with_capacity(256 * 1024, file),
            line: Vec::new(),
            number: 0,
            bytes: 0,
        })
    }

    /// Reads all lines, and reports progress. The work ends them early by `false`.
    fn each(
        &self,
        doing: &'static str,
        progress: &mut Progress<'_>,
        mut work: impl FnMut(u64, &[u8]) -> Result<bool, BuildError>,
    ) -> Result<(), BuildError> {
        let (mut lines, mut reported) = (self.lines()?, 0);
        progress(doing, 0);
        loop {
            if lines.bytes - reported > STEP {
                reported = lines.bytes;
                progress(doing, percent(reported, self.length));
            }
            let number = lines.number + 1;
            match lines.next()? {
                Some([]) => {}
                Some(line) if work(number, line)? => {}
                _ => break,
            }
        }
        progress(doing, 100);
        Ok(())
    }
}

/// Lines of bounded length.
struct Lines<R> {
    input: R,
    line: Vec<u8>,
    /// Of the last line, from 1.
    number: u64,
    /// Read so far.
    bytes: u64,
}

impl<R: BufRead> Lines<R> {
    /// The next line without its end. Of a line that is longer than [`MAX_LINE`] there is a part that is longer as well.
    fn next(&mut self) -> Result<Option<&[u8]>, BuildError> {
        self.read().map_err(BuildError::Read)
    }

    fn read(&mut self) -> io::Result<Option<&[u8]>> {
        self.line.clear();
        let most = MAX_LINE as u64 + 2;
        let mut input = (&mut self.input).take(most);
        let mut read = input.read_until(b'\n', &mut self.line)? as u64;
        if read == 0 {
            return Ok(None);
        }
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if read == most {
            read += self.input.skip_until(b'\n')? as u64;
        }
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        self.number += 1;
        self.bytes += read;
        Ok(Some(&self.line))
    }
}

/// The parts of `SHA1:count`.
fn hash_and_count(line: &[u8]) -> Option<([u8; 20], u64)> {
    let (digits, rest) = line.split_at_checked(40)?;
    let count = rest.strip_prefix(b":")?.trim_ascii_end();
    let mut hash = [0; 20];
    hex::decode_to_slice(digits, &mut hash).ok()?;
    if !count.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = std::str::from_utf8(count).ok()?.parse().ok()?;
    Some((hash, count))
}

/// Which counts are taken.
struct Selection {
    /// Those above this one.
    above: u64,
    /// And so many that are equal to it, the first ones.
    ties: u64,
}

impl Selection {
    fn takes(&mut self, count: u64) -> bool {
        if count == self.above && self.ties > 0 {
            self.ties -= 1;
            return true;
        }
        count > self.above
    }
}

/// Finds the counts of so many lines, the commonest.
fn commonest(list: &List, most: u64, progress: &mut Progress<'_>) -> Result<Selection, BuildError> {
    let mut lines_of = vec![0_u64; MAX_COUNT + 1];
    list.each("counting", progress, |number, line| {
        let (_, count) = hash_and_count(line).ok_or(BuildError::Line(number))?;
        lines_of[usize::try_from(count).map_or(MAX_COUNT, |count| count.min(MAX_COUNT))] += 1;
        Ok(true)
    })?;
    let mut left = most;
    for (count, lines) in lines_of.iter().enumerate().rev() {
        if *lines >= left {
            return Ok(Selection {
                above: count as u64,
                ties: left,
            });
        }
        left -= lines;
    }
    // There are fewer lines.
    Ok(Selection {
        above: 0,
        ties: left,
    })
}

fn hashes(
    list: &List,
    mut selection: Selection,
    spill: &mut Spill,
    progress: &mut Progress<'_>,
) -> Result<(), BuildError> {
    list.each("reading", progress, |number, line| {
        let (hash, count) = hash_and_count(line).ok_or(BuildError::Line(number))?;
        if selection.takes(count.min(MAX_LEAST)) {
            spill.add(Place::of_hash(&hash))?;
        }
        Ok(true)
    })
}

/// Takes the first passwords. Returns how many lines no account can have.
fn words(
    list: &List,
    most: u64,
    spill: &mut Spill,
    progress: &mut Progress<'_>,
) -> Result<u64, BuildError> {
    let (mut left, mut skipped) = (most, 0);
    list.each("reading", progress, |_, line| {
        if left == 0 {
            return Ok(false);
        }
        if line.len() > MAX_LINE || std::str::from_utf8(line).is_err() || line.contains(&0) {
            skipped += 1;
            return Ok(true);
        }
        left -= 1;
        spill.add(Place::of_password(line)).map(|()| true)
    })?;
    Ok(skipped)
}

/// The keys of each shard, in files without a name, which end with the process.
struct Spill {
    shards: Vec<BufWriter<File>>,
    counts: [usize; SHARDS],
}

impl Spill {
    fn new(out: &Path) -> io::Result<Self> {
        // One of them at a time has the name.
        let path = beside(out, "keys");
        let shard = |_| {
            let mut options = OpenOptions::new();
            let file = options
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(BufWriter::with_capacity(SPILL, file))
        };
        Ok(Self {
            shards: (0..SHARDS).map(shard).collect::<io::Result<_>>()?,
            counts: [0; SHARDS],
        })
    }

    fn add(&mut self, place: Place) -> Result<(), BuildError> {
        let shard = usize::from(place.shard);
        self.counts[shard] += 1;
        if self.counts[shard] > MAX_SHARD {
            return Err(BuildError::TooMany);
        }
        let written = self.shards[shard].write_all(&place.key.to_le_bytes());
        written.map_err(BuildError::Write)
    }

    /// The keys of a shard, each once.
    fn keys(&mut self, shard: usize) -> io::Result<Vec<u64>> {
        let writer = &mut self.shards[shard];
        writer.flush()?;
        let file = writer.get_mut();
        file.seek(SeekFrom::Start(0))?;
        let mut input = BufReader::with_capacity(64 * 1024, file);
        let mut keys = Vec::with_capacity(self.counts[shard]);
        for _ in 0..self.counts[shard] {
            let mut key = [0; 8];
            input.read_exact(&mut key)?;
            keys.push(u64::from_le_bytes(key));
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }
}

/// Writes the file. Returns how many passwords it has, and its size.
fn write(
    about: &About,
    mut spill: Spill,
    out: &Path,
    progress: &mut Progress<'_>,
) -> Result<(u64, u64), BuildError> {
    let unfinished = Unfinished(beside(out, "new"));
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).open(&unfinished.0);
    let file = file.map_err(BuildError::Write)?;
    let mut writer = Writer::begin(BufWriter::new(file), about)?;
    let mut passwords = 0;
    for shard in 0..SHARDS {
        progress("writing", percent(shard as u64, SHARDS as u64));
        let keys = spill.keys(shard).map_err(BuildError::Write)?;
        passwords += keys.len() as u64;
        writer.shard(&keys)?;
    }
    if passwords == 0 {
        return Err(BuildError::Empty);
    }
    let (output, bytes) = writer.end()?;
    let file = output
        .into_inner()
        .map_err(|error| BuildError::Write(error.into_error()))?;
    unfinished.rename(&file, out).map_err(BuildError::Write)?;
    progress("writing", 100);
    Ok((passwords, bytes))
}

/// A file that is removed unless it is renamed.
struct Unfinished(PathBuf);

impl Unfinished {
    /// Gives the file its name, once its contents are on the disk.
    fn rename(self, file: &File, out: &Path) -> io::Result<()> {
        file.sync_all()?;
        std::fs::rename(&self.0, out)?;
        // Without this, a crash of the machine may undo the name.
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // There is none any more if it was renamed.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A hidden name of this process beside a file.
fn beside(out: &Path, what: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(out.file_name().unwrap_or_default());
    name.push(format!(".{}.{what}", std::process::id()));
    out.with_file_name(name)
}

fn percent(done: u64, of: u64) -> u64 {
    (done * 100).checked_div(of).unwrap_or(100).min(100)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tempfile::TempDir;

    use super::*;
    use crate::breached::filter::Filter;

    /// Lists and files of one test.
    struct Folder(TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder"))
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// Makes `out` of a list with this text.
        fn build(&self, list: impl AsRef<[u8]>, select: Select) -> Result<Built, BuildError> {
            std::fs::write(self.path("list.txt"), list).expect("written");
            let file = File::open(self.path("list.txt")).expect("a file");
            let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            file.set_modified(date).expect("set");
            let mut reached = 0;
            let mut progress = |_: &str, percent: u64| reached = percent;
            let from = self.path("list.txt");
            let built = build(&from, select, &self.path("out"), &mut progress);
            assert!(built.is_err() || reached == 100, "{reached} %");
            built
        }

        fn has(&self, passwords: &[&str]) -> Vec<bool> {
            let filter = Filter::open(&self.path("out"), u64::MAX).expect("usable");
            let has = |password: &&str| filter.contains(password.as_bytes()).expect("in memory");
            passwords.iter().map(has).collect()
        }

        fn names(&self) -> Vec<String> {
            let entries = std::fs::read_dir(self.0.path()).expect("a folder");
            let name = |entry: io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
            let mut names: Vec<String> = entries
                .map(|entry| name(entry).into_string().expect("UTF-8"))
                .collect();
            names.sort();
            names
        }
    }

    const ALL: Select = Select::Top(u64::MAX);

    /// Passwords with their counts, as Pwned Passwords has them.
    fn hashes(passwords: &[(&str, u64)]) -> String {
        use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
        let hash = |password: &str| digest(&SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
        let line = |(password, count): &(&str, u64)| {
            format!("{}:{count}\r\n", hex::encode_upper(hash(password)))
        };
        let mut lines: Vec<String> = passwords.iter().map(line).collect();
        lines.sort();
        lines.concat()
    }

    #[test]
    fn the_commonest_of_a_list_with_counts_are_taken() {
        let folder = Folder::new();
        let passwords = [
            ("one", 5),
            ("two", 3),
            ("three", 3),
            ("four", 2_000_000),
            ("five", 1),
        ];
        let list = hashes(&passwords);
        let names = passwords.map(|(password, _)| password);
        let has = |select| {
            let built = folder.build(&list, select).expect("built");
            let has = folder.has(&names);
            assert_eq!(
                built.passwords,
                has.iter().filter(|has| **has).count() as u64
            );
            has
        };
        assert_eq!(has(Select::Top(2)), [true, false, false, true, false]);
        assert_eq!(has(Select::Top(4)), [true, true, true, true, false]);
        assert_eq!(has(ALL), [true; 5]);
        assert_eq!(has(Select::MinCount(3)), [true, true, true, true, false]);
        assert_eq!(has(Select::MinCount(6)), [false, false, false, true, false]);
        assert_eq!(has(Select::MinCount(1)), [true; 5]);
        // Of two with one count, the first in the list.
        let tie = has(Select::Top(3));
        let is_before = list.find(&hashes(&[("two", 3)])) < list.find(&hashes(&[("three", 3)]));
        assert_eq!(tie, [true, is_before, !is_before, true, false]);
    }

    #[test]
    fn counts_beyond_the_table_count_as_its_last() {
        let folder = Folder::new();
        let list = hashes(&[
            ("one", u64::MAX),
            ("two", MAX_LEAST + 1),
            ("three", MAX_LEAST),
        ]);
        let built = folder.build(&list, Select::Top(2)).expect("built");
        assert_eq!(built.passwords, 2);
        let built = folder.build(&list, Select::MinCount(MAX_LEAST));
        assert_eq!(built.expect("built").passwords, 3);
    }

    #[test]
    fn words_are_taken_as_they_are_from_the_beginning() {
        let folder = Folder::new();
        let mut list = b"password\r\n\nPassw\xf6rd\npassword\n pass word \n".to_vec();
        list.extend([b'x'; 1025]);
        list.extend(b"\n\0\n");
        list.extend([b'y'; 1024]);
        list.extend(b"\nlast");
        let built = folder.build(&list, ALL).expect("built");
        assert_eq!((built.passwords, built.skipped), (4, 3));
        assert_eq!(built.date.timestamp(), 1_700_000_000);
        let (x, y) = ("x".repeat(1025), "y".repeat(1024));
        let names = [
            "password",
            " pass word ",
            &y,
            "last",
            "PASSWORD",
            "pass word",
            &x,
            "x",
            "",
        ];
        let has = folder.has(&names);
        assert_eq!(has, [[true; 4].as_slice(), &[false; 5]].concat());
        let built = folder.build(&list, Select::Top(1)).expect("built");
        assert_eq!((built.passwords, built.skipped), (1, 0));
    }

    #[test]
    fn a_list_of_any_order_and_size_makes_the_same_file_each_time() {
        let folder = Folder::new();
        let words: Vec<String> = (0..20_000)
            .map(|number| format!("word {number}\n"))
            .collect();
        let built = folder.build(words.concat(), ALL).expect("built");
        let first = std::fs::read(folder.path("out")).expect("a file");
        assert_eq!((built.passwords, built.bytes), (20_000, first.len() as u64));
        let backwards: Vec<&str> = words.iter().rev().map(String::as_str).collect();
        folder.build(backwards.concat(), ALL).expect("built");
        assert_eq!(std::fs::read(folder.path("out")).expect("a file"), first);
        assert_eq!(folder.names(), ["list.txt", "out"]);
    }

    #[test]
    fn what_is_no_list_is_refused_and_the_file_before_stays() {
        let folder = Folder::new();
        folder.build("password\n", ALL).expect("built");
        let hash = hashes(&[("one", 5)]);
        let ntlm = "32ED87BDB5FDC5E9CBA88547376818D4:24230577\n";
        for (list, line) in [
            ("", "no password"),
            ("\n\r\n", "no password"),
            ("7z\u{bc}\u{af}\0\0", "unpacked"),
            (ntlm, "SHA-1 list"),
            (&hash[..40], "SHA-1 list"),
            (&format!("{hash}\n{hash}x"), "line 4 of the list"),
            (&format!("{hash}{}:1x\n", &hash[..40]), "line 2 of the list"),
            (
                &format!("{hash}{}", "x".repeat(5_000)),
                "line 2 of the list",
            ),
        ] {
            let error = folder.build(list, ALL).expect_err(line);
            assert!(error.to_string().contains(line), "{error}");
        }
        let error = folder
            .build("word\n", Select::MinCount(2))
            .expect_err("no counts");
        assert!(error.to_string().contains("--top"), "{error}");
        let error = folder.build(&hash, Select::MinCount(6)).expect_err("none");
        assert!(matches!(error, BuildError::Empty), "{error}");
        assert_eq!(folder.has(&["password", "one"]), [true, false]);
        assert_eq!(folder.names(), ["list.txt", "out"]);
        let (nowhere, mut progress) = (folder.path("no/out"), |_: &str, _: u64| {});
        let error = build(&folder.path("list.txt"), ALL, &nowhere, &mut progress);
        assert!(matches!(error, Err(BuildError::Write(_))), "{error:?}");
        let error = build(folder.0.path(), ALL, &nowhere, &mut progress);
        assert!(matches!(error, Err(BuildError::NoText)), "{error:?}");
        let error = build(&nowhere, ALL, &nowhere, &mut progress);
        assert!(matches!(error, Err(BuildError::Read(_))), "{error:?}");
    }

    #[test]
    fn a_shard_is_bounded() {
        let folder = Folder::new();
        let mut spill = Spill::new(&folder.path("out")).expect("files");
        let place = Place { shard: 7, key: 1 };
        spill.counts[7] = MAX_SHARD - 1;
        spill.add(place).expect("the last one");
        assert!(matches!(spill.add(place), Err(BuildError::TooMany)));
    }
}
