//! Breached passwords: a list of those that attackers have, in memory, and asked before a new password is hashed.
//!
//! [`build`] makes the file of a list, [`filter`] reads it and looks passwords up, [`Breached`] holds it and takes a new
//! one when the file is replaced. [`Screened`] is the one place where new passwords are refused, for every operation that
//! sets one. No request leaves the service for it.

pub mod build;
pub mod filter;
mod metrics;
mod screened;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use chrono::{DateTime, Utc};

use crate::domain::BrokenRule;
use crate::platform::limits::{Bound, Limit};
use filter::{Filter, FilterError, MAX_FILE, Stamp};
pub use metrics::BreachedMetrics;
use metrics::Of;
pub use screened::Screened;

/// The share of the memory that a list may have. Two are in memory while one replaces the other.
const MEMORY_SHARE: u64 = 4;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    Limit {
        what: "Size of a file of breached passwords",
        bound: Bound::Words("4,096 MiB, or a quarter of the memory if that is less"),
        effect: "the service does not start; a running one keeps the list that it has",
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

/// The largest file in bytes, on a machine or in a container with this much memory.
#[must_use]
pub fn largest(memory: Option<u64>) -> u64 {
    memory.map_or(MAX_FILE, |memory| MAX_FILE.min(memory / MEMORY_SHARE))
}

/// The state of the list, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The date of the list in use.
    pub date: DateTime<Utc>,
    /// Why the file as it is now cannot be used, so that an earlier one still is.
    pub problem: Option<String>,
}

/// The list in use.
pub struct Breached {
    path: PathBuf,
    /// The largest file, in bytes.
    limit: u64,
    filter: RwLock<Arc<Filter>>,
    file: Mutex<Seen>,
    metrics: BreachedMetrics,
}

/// What was seen of the file.
struct Seen {
    /// Its version when it was last read. `None` if that has to be tried again.
    stamp: Option<Stamp>,
    problem: Option<String>,
}

impl Breached {
    /// Reads the list.
    ///
    /// # Errors
    /// When the file cannot be used: one line that names the setting.
    pub fn open(path: &Path, limit: u64, metrics: BreachedMetrics) -> Result<Self, String> {
        // Before it is read: a replacement meanwhile is noticed later.
        let stamp = stamp(path).ok();
        let filter = open(path, limit)?;
        metrics.uses(&filter);
        Ok(Self {
            path: path.to_path_buf(),
            limit,
            filter: RwLock::new(Arc::new(filter)),
            file: Mutex::new(Seen {
                stamp,
                problem: None,
            }),
            metrics,
        })
    }

    /// Whether a password that an account has is in the list. It takes a microsecond or two.
    #[must_use]
    pub fn has_known(&self, password: &[u8]) -> bool {
        self.has(password, Of::Login)
    }

    /// Whether a new password is in the list.
    fn has_new(&self, password: &[u8]) -> bool {
        self.has(password, Of::New)
    }

    fn has(&self, password: &[u8], of: Of) -> bool {
        let found = self.filter().contains(password);
        if found {
            self.metrics.found(of);
        }
        found
    }

    /// The state of the list.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            date: self.filter().about().date,
            problem: self.lock().problem.clone(),
        }
    }

    /// Reads the file if it was replaced; the list before is kept if the new one cannot be used.
    pub async fn refresh(self: Arc<Self>) {
        let work = tokio::task::spawn_blocking(move || self.refresh_now());
        if work.await.is_err() {
            tracing::error!("breached passwords not replaced: the task failed");
        }
    }

    fn refresh_now(&self) {
        let found = stamp(&self.path);
        let last = self.lock().stamp;
        if matches!((&found, last), (Ok(found), Some(last)) if *found == last) {
            return;
        }
        let outcome = found.map_err(FilterError::from).and_then(|stamp| {
            let filter = Filter::open(&self.path, self.limit);
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
            "breached passwords replaced"
        );
        let mut current = self.filter.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(filter);
        drop(current);
        *self.lock() = Seen {
            stamp: Some(stamp),
            problem: None,
        };
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
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn filter(&self) -> Arc<Filter> {
        let current = self.filter.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }
}

/// Reads a list.
///
/// # Errors
/// When the file cannot be used: one line that names the setting.
pub fn open(path: &Path, limit: u64) -> Result<Filter, String> {
    Filter::open(path, limit)
        .map_err(|error| format!("the file of BREACHED_PASSWORDS_FILE cannot be used: {error}"))
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    std::fs::metadata(path).map(|metadata| Stamp::of(&metadata))
}

#[cfg(test)]
mod tests {
    use std::fs;

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

    fn opened(path: &Path) -> (Breached, Metrics) {
        let metrics = Metrics::new().expect("unique names");
        let own = BreachedMetrics::new(&metrics).expect("unique names");
        let list = Breached::open(path, MAX_FILE, own).expect("usable");
        (list, metrics)
    }

    #[test]
    fn a_list_is_replaced_and_kept_if_another_is_unusable() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list");
        make(&path, "first word\n");
        let (list, metrics) = opened(&path);
        let has = || {
            [
                list.has_known(b"first word"),
                list.has_known(b"second word"),
            ]
        };
        let unusable = || {
            let text = metrics.encode().expect("text");
            text.lines().any(|line| line == "breached_list_unusable 1")
        };
        assert_eq!(has(), [true, false]);
        list.refresh_now();
        assert!(list.status().problem.is_none() && !unusable());

        let other = folder.path().join("other");
        make(&other, "second word\n");
        fs::rename(&other, &path).expect("renamed");
        list.refresh_now();
        assert_eq!(has(), [false, true]);

        let good = fs::read(&path).expect("a file");
        for bytes in [b"".as_slice(), b"something else", &good[..good.len() - 1]] {
            fs::write(&other, bytes).expect("written");
            fs::rename(&other, &path).expect("renamed");
            for _ in 0..2 {
                list.refresh_now();
                assert!(list.status().problem.is_some() && unusable());
                assert_eq!(has(), [false, true]);
            }
        }
        fs::remove_file(&path).expect("removed");
        list.refresh_now();
        let problem = list.status().problem.expect("it is gone");
        assert!(problem.starts_with("it cannot be read"), "{problem}");
        assert_eq!(has(), [false, true]);

        make(&path, "first word\nsecond word\n");
        list.refresh_now();
        assert!(list.status().problem.is_none() && !unusable());
        assert_eq!(has(), [true, true]);
        let text = metrics.encode().expect("text");
        assert!(text.contains("breached_list_failures_total 4"), "{text}");
        assert!(text.contains("breached_list_passwords 2"), "{text}");
    }

    #[test]
    fn a_list_has_a_quarter_of_the_memory_at_most() {
        assert_eq!(largest(None), MAX_FILE);
        assert_eq!(largest(Some(256 << 20)), 64 << 20);
        assert_eq!(largest(Some(u64::MAX)), MAX_FILE);
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

    #[tokio::test]
    async fn only_new_passwords_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list");
        let breached = "correct horse battery staple";
        make(&path, breached);
        let (list, metrics) = opened(&path);
        let hasher = Screened::new(Arc::new(Accepting), Some(Arc::new(list)), 20);
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
