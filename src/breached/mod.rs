//! Breached passwords: a list of those that attackers have, asked before a new password is hashed.
//!
//! [`build`] makes the file of a list, [`filter`] reads it and looks passwords up, in memory or on the disk. [`Breached`]
//! holds it and takes a new one when the file is replaced. [`Screened`] is the one place where new passwords are refused,
//! for every operation that sets one. No request leaves the service for it.

pub mod build;
pub mod filter;
mod metrics;
mod on_disk;
mod screened;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::Semaphore;

use crate::domain::BrokenRule;
use crate::platform::limits::{Bound, Limit};
use filter::{Filter, FilterError, Place, Stamp};
pub use metrics::BreachedMetrics;
use metrics::Of;
pub use screened::Screened;

/// The largest list in memory unless the settings say another, in bytes.
const IN_MEMORY: u64 = 256 << 20;

/// The share of the memory that such a list may have. Two are in memory while one replaces the other.
const MEMORY_SHARE: u64 = 8;

/// The time limit of a look-up on the disk.
const LOOK_UP: Duration = Duration::from_secs(1);

/// Look-ups on the disk at a time: each has a thread meanwhile.
const LOOK_UPS: usize = 8;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    Limit {
        what: "Size of a file of breached passwords",
        bound: Bound::Words("4,096 MiB"),
        effect: "the service does not start; a running one keeps the list that it has",
    },
    Limit {
        what: "Size of such a file in memory",
        bound: Bound::Setting("BREACHED_PASSWORDS_MEMORY_MB"),
        effect: "a larger one stays on the disk",
    },
    Limit {
        what: "Look-ups of passwords on the disk at a time",
        bound: Bound::Count(LOOK_UPS),
        effect: "others wait",
    },
    Limit {
        what: "One such look-up, with its wait",
        bound: Bound::Time(LOOK_UP),
        effect: "the password is not refused; `breached_look_up_failures_total`",
    },
    Limit {
        what: "Passwords of such a file",
        bound: Bound::Words("some 1.7 billion, 7,000,000 for each first byte of their hashes"),
        effect: "`breached build` makes no file",
    },
];

/// The rule that a breached password breaks.
#[must_use]
pub const fn rule() -> BrokenRule {
    BrokenRule::new(
        "breached",
        "Is known from a data breach; choose another one.",
    )
}

/// The largest list that is in memory, in bytes: by the setting, in MiB, or else by the memory of the machine or the
/// container.
#[must_use]
pub fn in_memory(setting: Option<u64>, memory: Option<u64>) -> u64 {
    let share = memory.map_or(IN_MEMORY, |memory| memory / MEMORY_SHARE);
    setting.map_or(IN_MEMORY.min(share), |mebibytes| mebibytes << 20)
}

/// The state of the list, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The date of the list in use.
    pub date: DateTime<Utc>,
    /// Why the file as it is now cannot be used, so that an earlier one still is.
    pub problem: Option<String>,
    /// Why a look-up in the list failed, so that its password was not refused; until the service's
    /// own one, some seconds later, does not.
    pub unreadable: Option<String>,
}

/// The list in use.
pub struct Breached {
    path: PathBuf,
    /// The largest list in memory, in bytes.
    in_memory: u64,
    filter: RwLock<Arc<Filter>>,
    file: Mutex<Seen>,
    look_ups: Arc<Semaphore>,
    metrics: BreachedMetrics,
}

/// Why a password was not looked up.
#[derive(Debug, thiserror::Error)]
enum LookUpError {
    #[error(transparent)]
    Unreadable(#[from] FilterError),
    #[error("the disk did not respond within {} s", LOOK_UP.as_secs())]
    Late,
    #[error("the look-up was stopped")]
    Stopped,
}

/// What was seen of the file.
struct Seen {
    /// Its version when it was last read. `None` if that has to be tried again.
    stamp: Option<Stamp>,
    problem: Option<String>,
    /// Why a look-up on the disk failed, until one of [`Breached::probe`] does not.
    unreadable: Option<String>,
}

impl Breached {
    /// Reads the list. One of at most `in_memory` bytes is in memory, a larger one stays on the disk.
    ///
    /// # Errors
    /// When the file cannot be used: one line that names the setting.
    pub fn open(path: &Path, in_memory: u64, metrics: BreachedMetrics) -> Result<Self, String> {
        // Before it is read: a replacement meanwhile is noticed later.
        let stamp = stamp(path).ok();
        let filter = open(path, in_memory)?;
        metrics.uses(&filter);
        Ok(Self {
            path: path.to_path_buf(),
            in_memory,
            filter: RwLock::new(Arc::new(filter)),
            file: Mutex::new(Seen {
                stamp,
                problem: None,
                unreadable: None,
            }),
            look_ups: Arc::new(Semaphore::new(LOOK_UPS)),
            metrics,
        })
    }

    /// Whether a password that an account has is in the list. It takes a microsecond or two in memory, and at most a
    /// second on the disk. A password that cannot be looked up is not in it.
    pub async fn has_known(&self, password: &[u8]) -> bool {
        self.has(password, Of::Login).await
    }

    /// Whether a new password is in the list, as for [`Self::has_known`].
    async fn has_new(&self, password: &[u8]) -> bool {
        self.has(password, Of::New).await
    }

    async fn has(&self, password: &[u8], of: Of) -> bool {
        let place = Place::of_password(password);
        let filter = self.filter();
        let found = match filter.has_in_memory(place) {
            Some(found) => found,
            None => self.has_on_disk(filter, place).await,
        };
        if found {
            self.metrics.found(of);
        }
        found
    }

    /// Without the disk, signups and logins go on: passwords have other rules, and guesses are throttled.
    async fn has_on_disk(&self, filter: Arc<Filter>, place: Place) -> bool {
        let reading = tokio::time::timeout(LOOK_UP, self.read(filter, place));
        let outcome = reading.await.unwrap_or(Err(LookUpError::Late));
        outcome.unwrap_or_else(|error| {
            self.metrics.look_up_failed();
            self.is_unreadable(&error);
            false
        })
    }

    async fn read(&self, filter: Arc<Filter>, place: Place) -> Result<bool, LookUpError> {
        let turn = Arc::clone(&self.look_ups).acquire_owned().await;
        let reading = tokio::task::spawn_blocking(move || {
            // A thread that the disk blocks keeps its turn, also when its caller does not wait any more.
            let _turn = turn;
            filter.has(place)
        });
        let found = reading.await.map_err(|_| LookUpError::Stopped)?;
        found.map_err(LookUpError::from)
    }

    fn is_unreadable(&self, error: &LookUpError) {
        let mut seen = self.lock();
        let reason = error.to_string();
        if seen.unreadable.is_none() {
            tracing::warn!(reason, "breached passwords unreadable, refusing none");
        }
        seen.unreadable = Some(reason);
        self.show(&seen);
    }

    fn is_readable(&self) {
        let mut seen = self.lock();
        if seen.unreadable.take().is_some() {
            tracing::info!("breached passwords readable again");
        }
        self.show(&seen);
    }

    fn show(&self, seen: &Seen) {
        let is_unusable = seen.problem.is_some() || seen.unreadable.is_some();
        self.metrics.is_unusable(is_unusable);
    }

    /// Which list it is, for the log: its date, how many passwords it has, and where it is.
    #[must_use]
    pub fn in_use(&self) -> (DateTime<Utc>, u64, &'static str) {
        let filter = self.filter();
        (filter.about().date, filter.passwords(), place_of(&filter))
    }

    /// The state of the list.
    #[must_use]
    pub fn status(&self) -> Status {
        let date = self.filter().about().date;
        let seen = self.lock();
        Status {
            date,
            problem: seen.problem.clone(),
            unreadable: seen.unreadable.clone(),
        }
    }

    /// Reads the file if it was replaced; the list before is kept if the new one cannot be used.
    pub async fn refresh(self: Arc<Self>) {
        let work = tokio::task::spawn_blocking(move || {
            self.refresh_now();
            self.probe();
        });
        if work.await.is_err() {
            tracing::error!("breached passwords not replaced: the task failed");
        }
    }

    /// Looks something up, so that a list on the disk is known to be readable or not, whether or not users come.
    fn probe(&self) {
        match self.filter().has(Place { shard: 0, key: 0 }) {
            Ok(_) => self.is_readable(),
            Err(error) => self.is_unreadable(&error.into()),
        }
    }

    fn refresh_now(&self) {
        let found = stamp(&self.path);
        let last = self.lock().stamp;
        if matches!((&found, last), (Ok(found), Some(last)) if *found == last) {
            return;
        }
        let outcome = found.map_err(FilterError::from).and_then(|stamp| {
            let filter = Filter::open(&self.path, self.in_memory);
            filter.map(|filter| (stamp, filter)).inspect_err(|error| {
                // Of a file that cannot be read, this may pass.
                let passes = matches!(error, FilterError::Read(_));
                self.lock().stamp = (!passes).then_some(stamp);
            })
        });
        match outcome {
            Ok((stamp, filter)) => self.take(stamp, filter),
            Err(error) => self.keep(&error),
        }
    }

    fn take(&self, stamp: Stamp, filter: Filter) {
        self.metrics.uses(&filter);
        tracing::info!(
            date = %filter.about().date.date_naive(),
            passwords = filter.passwords(),
            place = place_of(&filter),
            "breached passwords replaced"
        );
        let mut current = self.filter.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(filter);
        drop(current);
        let mut seen = self.lock();
        *seen = Seen {
            stamp: Some(stamp),
            problem: None,
            unreadable: None,
        };
        self.show(&seen);
    }

    fn keep(&self, error: &FilterError) {
        self.metrics.keeps();
        let problem = error.to_string();
        let mut seen = self.lock();
        if seen.problem.as_ref() != Some(&problem) {
            tracing::warn!(
                reason = problem,
                "file of breached passwords unusable, keeping the list before"
            );
        }
        seen.problem = Some(problem);
        self.show(&seen);
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn filter(&self) -> Arc<Filter> {
        let current = self.filter.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }
}

/// Reads a list. One of at most `in_memory` bytes is in memory, a larger one stays on the disk.
///
/// # Errors
/// When the file cannot be used: one line that names the setting.
pub fn open(path: &Path, in_memory: u64) -> Result<Filter, String> {
    Filter::open(path, in_memory).map_err(|error| unusable(&error))
}

/// The line for a file that cannot be used.
#[must_use]
pub fn unusable(error: &FilterError) -> String {
    format!("the file of BREACHED_PASSWORDS_FILE cannot be used: {error}")
}

fn place_of(filter: &Filter) -> &'static str {
    if filter.is_in_memory() {
        "memory"
    } else {
        "disk"
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    std::fs::metadata(path).map(|metadata| Stamp::of(&metadata))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use rstest::rstest;
    use secrecy::SecretString;

    use super::build::{Select, build};
    use super::*;
    use crate::domain::{Candidate, PasswordHash, PresentedPassword};
    use crate::hashing::{Class, HashError, PasswordHasher, Profile, StoredHash};
    use crate::platform::metrics::Metrics;

    /// Makes a file of these passwords, each in a line.
    fn make(out: &Path, passwords: &str) {
        let list = out.with_extension("txt");
        fs::write(&list, passwords).expect("written");
        build(&list, Select::Top(100), out, &mut |_, _| {}).expect("built");
    }

    /// Bounds for a list in memory, and for one on the disk.
    const BOTH: [u64; 2] = [u64::MAX, 0];

    fn opened(path: &Path, in_memory: u64) -> (Arc<Breached>, Metrics) {
        let metrics = Metrics::new().expect("unique names");
        let own = BreachedMetrics::new(&metrics).expect("unique names");
        let list = Breached::open(path, in_memory, own).expect("usable");
        (Arc::new(list), metrics)
    }

    fn has_line(metrics: &Metrics, expected: &str) -> bool {
        let text = metrics.encode().expect("text");
        text.lines().any(|line| line == expected)
    }

    #[rstest]
    #[tokio::test]
    async fn a_list_is_replaced_and_kept_if_another_is_unusable(
        #[values(BOTH[0], BOTH[1])] in_memory: u64,
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list");
        make(&path, "first word\n");
        let (list, metrics) = opened(&path, in_memory);
        let place = if in_memory > 0 { "memory" } else { "disk" };
        assert_eq!(list.in_use().2, place);
        let has = async || {
            [
                list.has_known(b"first word").await,
                list.has_known(b"second word").await,
            ]
        };
        let unusable = || has_line(&metrics, "breached_list_unusable 1");
        assert_eq!(has().await, [true, false]);
        Arc::clone(&list).refresh().await;
        assert!(list.status().problem.is_none() && !unusable());

        let other = folder.path().join("other");
        make(&other, "second word\n");
        fs::rename(&other, &path).expect("renamed");
        Arc::clone(&list).refresh().await;
        assert_eq!(has().await, [false, true]);

        let good = fs::read(&path).expect("a file");
        for bytes in [b"".as_slice(), b"something else", &good[..good.len() - 1]] {
            fs::write(&other, bytes).expect("written");
            fs::rename(&other, &path).expect("renamed");
            for _ in 0..2 {
                Arc::clone(&list).refresh().await;
                assert!(list.status().problem.is_some() && unusable());
                assert_eq!(has().await, [false, true]);
            }
        }
        fs::remove_file(&path).expect("removed");
        Arc::clone(&list).refresh().await;
        let problem = list.status().problem.expect("it is gone");
        assert!(problem.starts_with("it cannot be read"), "{problem}");
        assert_eq!(has().await, [false, true]);

        make(&path, "first word\nsecond word\n");
        Arc::clone(&list).refresh().await;
        assert!(list.status().problem.is_none() && !unusable());
        assert_eq!(has().await, [true, true]);
        let text = metrics.encode().expect("text");
        assert!(text.contains("breached_list_failures_total 4"), "{text}");
        assert!(text.contains("breached_list_passwords 2"), "{text}");
    }

    /// Neither a truncated file nor one with other bytes refuses a good password, or fails a login.
    #[tokio::test]
    async fn a_list_on_the_disk_that_is_changed_in_place_refuses_nothing_until_it_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list");
        make(&path, "first word\n");
        let good = fs::read(&path).expect("a file");
        let (list, metrics) = opened(&path, 0);
        let mut failures = 0;
        for change in [Change::Truncate, Change::Zeros, Change::Append] {
            assert!(list.has_known(b"first word").await, "{change:?}");
            change.make(&path, &good);
            for password in ["first word", "second word"] {
                assert!(!list.has_known(password.as_bytes()).await, "{change:?}");
            }
            failures += 2;
            let line = format!("breached_look_up_failures_total {failures}");
            assert!(has_line(&metrics, &line), "{change:?}");
            for _ in 0..2 {
                let unreadable = list.status().unreadable.expect("it cannot be read");
                assert!(unreadable.contains("changed in place"), "{unreadable}");
                assert!(has_line(&metrics, "breached_list_unusable 1"));
                Arc::clone(&list).refresh().await;
            }
            assert!(list.status().problem.is_some(), "{change:?}");

            let other = folder.path().join("other");
            fs::write(&other, &good).expect("written");
            fs::rename(&other, &path).expect("renamed");
            Arc::clone(&list).refresh().await;
            let status = list.status();
            assert_eq!((status.problem, status.unreadable), (None, None));
            assert!(has_line(&metrics, "breached_list_unusable 0"));
        }
    }

    /// A change of an open file.
    #[derive(Debug, Clone, Copy)]
    enum Change {
        Truncate,
        Zeros,
        Append,
    }

    impl Change {
        fn make(self, path: &Path, good: &[u8]) {
            let mut options = fs::OpenOptions::new();
            let mut file = options.write(true).open(path).expect("opened");
            // The same length may be written within one tick of the clock that files have.
            let later = std::time::SystemTime::UNIX_EPOCH + Duration::from_mins(1);
            match self {
                Self::Truncate => file.set_len(100).expect("truncated"),
                Self::Zeros => file.write_all(&vec![0; good.len()]).expect("written"),
                Self::Append => file.set_len(good.len() as u64 + 1).expect("extended"),
            }
            file.set_modified(later).expect("set");
        }
    }

    #[tokio::test]
    async fn the_name_of_a_list_on_the_disk_may_go_and_its_file_is_still_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list");
        make(&path, "first word\n");
        let (list, metrics) = opened(&path, 0);
        fs::remove_file(&path).expect("removed");
        Arc::clone(&list).refresh().await;
        assert!(list.has_known(b"first word").await);
        let status = list.status();
        assert!(status.problem.is_some() && status.unreadable.is_none());
        assert!(has_line(&metrics, "breached_look_up_failures_total 0"));
    }

    /// A disk that does not respond has some threads at most, and a login does not wait for it.
    #[tokio::test]
    async fn look_ups_that_wait_for_the_disk_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list");
        make(&path, "first word\n");
        let (list, metrics) = opened(&path, 0);
        let all = u32::try_from(LOOK_UPS).expect("a few");
        let turns = Arc::clone(&list.look_ups).acquire_many_owned(all);
        let turns = turns.await.expect("open");
        assert!(!list.has_known(b"first word").await);
        let unreadable = list.status().unreadable.expect("it cannot be read");
        assert!(unreadable.contains("within 1 s"), "{unreadable}");
        assert!(has_line(&metrics, "breached_look_up_failures_total 1"));
        drop(turns);
        list.probe();
        assert_eq!(list.status().unreadable, None);
    }

    #[test]
    fn a_list_in_memory_has_an_eighth_of_it_at_most() {
        assert_eq!(in_memory(None, None), 256 << 20);
        assert_eq!(in_memory(None, Some(256 << 20)), 32 << 20);
        assert_eq!(in_memory(None, Some(u64::MAX)), 256 << 20);
        assert_eq!(in_memory(Some(0), Some(u64::MAX)), 0);
        assert_eq!(in_memory(Some(4096), Some(1 << 20)), filter::MAX_FILE);
    }

    /// Accepts every password.
    struct Accepting;

    #[async_trait::async_trait]
    impl PasswordHasher for Accepting {
        async fn hash(
            &self,
            _: Candidate,
            _: Class,
            _: Option<crate::platform::client::Network>,
            _: std::time::Instant,
        ) -> Result<PasswordHash, HashError> {
            Ok(PasswordHash::new("a hash".to_owned()))
        }

        async fn verify(
            &self,
            _: PresentedPassword,
            _: StoredHash,
            _: Class,
            _: Option<crate::platform::client::Network>,
            _: std::time::Instant,
        ) -> Result<bool, HashError> {
            Ok(true)
        }

        fn admits(
            &self,
            _: Class,
            _: Option<crate::platform::client::Network>,
            _: std::time::Instant,
        ) -> Result<(), HashError> {
            Ok(())
        }

        fn has_free_lane(&self) -> bool {
            true
        }
    }

    #[rstest]
    #[tokio::test]
    async fn only_new_passwords_are_refused(#[values(BOTH[0], BOTH[1])] in_memory: u64) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list");
        let breached = "correct horse battery staple";
        make(&path, breached);
        let (list, metrics) = opened(&path, in_memory);
        let hasher = Screened::new(Arc::new(Accepting), Some(list), 20);
        let far = std::time::Instant::now() + std::time::Duration::from_mins(1);
        let hash = |candidate| hasher.hash(candidate, Class::Account, None, far);
        let new = |text: &str| Candidate::parse(SecretString::from(text), &[]).expect("valid");
        assert_eq!(hash(new(breached)).await, Err(HashError::Guessable(rule())));
        assert!(hash(new("another horse battery staple")).await.is_ok());
        let presented = || PresentedPassword::parse(SecretString::from(breached)).expect("valid");
        let short = hash(new("nineteen characters")).await;
        assert!(matches!(short, Err(HashError::Guessable(rule)) if rule.code == "too_short"));
        assert!(hash(Candidate::verified(presented())).await.is_ok());
        let stored = StoredHash::dummy(Profile::Bcrypt { cost: 4 }, [0; 16]);
        let verified = hasher.verify(presented(), stored, Class::Login, None, far);
        assert_eq!(verified.await, Ok(true));
        assert_eq!(hasher.admits(Class::Signup, None, far), Ok(()));
        assert!(hasher.has_free_lane());
        let text = metrics.encode().expect("text");
        assert!(
            text.contains("breached_passwords_total{of=\"new\"} 1"),
            "{text}"
        );
    }
}
