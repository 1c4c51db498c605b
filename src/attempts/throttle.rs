//! The throttle of failed logins: strangers have few guesses, and an owner on a known device does not
//! notice them.
//!
//! Failures are counted by subject: an address, or an address and a device that its owner has logged
//! in from. Strangers and each known device have counts of their own, so that a stream of guesses
//! does not keep out the owner. Addresses without an account are counted alike.

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::StoreError;
use crate::mail::queue::{self, NewMail};
use crate::platform::database::{Database, End, Error, Micros, Statement, Transaction, UnitOfWork};
use crate::platform::limits::{Bound, Limit};
use crate::tokens::device::{self, DeviceId};
use crate::tokens::secrets::{Mac, TokenSecrets};

/// Failures in a row without a wait.
const FREE: i32 = 10;

/// The first wait; each further failure doubles it.
const FIRST_WAIT: TimeDelta = TimeDelta::seconds(30);

/// The longest wait.
const LONGEST_WAIT: TimeDelta = TimeDelta::minutes(15);

/// Failures in a row after which strangers may not log in until the owner has proved to be it (NIST
/// SP 800-63B-4, section 3.2.2).
const MOST: i32 = 100;

/// How long failures are remembered.
pub const REMEMBERED: TimeDelta = TimeDelta::days(30);

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    Limit {
        what: "Failed logins in a row without a wait",
        bound: Bound::Count(FREE as usize),
        effect: "429 `login-throttled`, for 30 s doubling to 15 min",
    },
    Limit {
        what: "Failed logins in a row, from devices that the owner has not used",
        bound: Bound::Count(MOST as usize),
        effect: "429 `login-throttled` for 30 days, except for known devices",
    },
];

/// Who is counted, by its keyed hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// The keyed hash of the address, and of the device if it is known.
    pub hash: Mac,
    /// Whether it is a device that the owner has logged in from.
    pub is_known_device: bool,
}

impl Subject {
    /// The subject of an address; on a device, if the owner is known to have logged in from it.
    #[must_use]
    pub fn of(address: &str, device: Option<DeviceId>, secrets: &TokenSecrets) -> Self {
        Self {
            hash: device::subject(address, device, secrets),
            is_known_device: device.is_some(),
        }
    }
}

/// The failures of a subject.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failures {
    /// In a row.
    count: i32,
    /// Until when further attempts are refused.
    blocked_until: Option<DateTime<Utc>>,
}

impl Failures {
    /// How long this subject has to wait.
    #[must_use]
    pub fn wait(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        let left = self.blocked_until? - now;
        (left > TimeDelta::zero()).then_some(left)
    }

    /// Whether one more failure closes logins: those of strangers, until the owner has proved to be it.
    #[must_use]
    pub fn one_more_closes(&self, is_known_device: bool) -> bool {
        self.count.saturating_add(1) >= MOST && !is_known_device
    }

    /// Until when attempts are refused after one more failure.
    fn blocked_after_one_more(&self, is_known_device: bool, now: DateTime<Utc>) -> DateTime<Utc> {
        if self.one_more_closes(is_known_device) {
            return now + REMEMBERED;
        }
        let count = self.count.saturating_add(1);
        let Ok(doublings) = u32::try_from(count - FREE) else {
            return now;
        };
        let factor = 1_i32.checked_shl(doublings).unwrap_or(i32::MAX);
        let wait = FIRST_WAIT.checked_mul(factor.max(1));
        now + wait.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)
    }
}

static FIND: Statement = Statement::new(
    "SELECT failures, last_at, blocked_until FROM login_throttle WHERE subject = $1",
);

static FAILED: Statement = Statement::new(
    "INSERT INTO login_throttle (subject, failures, last_at, blocked_until) \
     VALUES ($1, 1, $2, $3) ON CONFLICT (subject) DO UPDATE SET \
     failures = CASE WHEN login_throttle.last_at < $4 THEN 1 ELSE login_throttle.failures + 1 END, \
     last_at = $2, \
     blocked_until = CASE WHEN login_throttle.blocked_until > $3 THEN login_throttle.blocked_until \
     ELSE $3 END",
);

static FORGET: Statement =
    Statement::new("DELETE FROM login_throttle WHERE subject = $1 RETURNING failures");

static CLEAR: Statement = Statement::new("DELETE FROM login_throttle WHERE subject = $1");

/// The counts of failures, in the database.
pub struct Throttle {
    database: Database,
}

impl Throttle {
    /// Counts in this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// The failures of a subject.
    ///
    /// # Errors
    /// When the store is unavailable, or reports an error.
    pub async fn find(
        &self,
        subject: &Subject,
        now: DateTime<Utc>,
    ) -> Result<Failures, StoreError> {
        let parameters = (subject.hash.to_vec(),);
        let row: Option<(i32, Micros, Micros)> =
            self.database.fetch_latest(&FIND, parameters).await?;
        Ok(match row {
            Some((count, last_at, blocked_until)) if now - last_at.0 < REMEMBERED => Failures {
                count,
                blocked_until: Some(blocked_until.0),
            },
            _ => Failures::default(),
        })
    }

    /// Forgets the failures of a subject. Returns whether there were some.
    ///
    /// # Errors
    /// When the outcome is not certain.
    pub async fn forget(&self, subject: &Subject) -> Result<bool, StoreError> {
        let parameters = (subject.hash.to_vec(),);
        let rows: Vec<(i32,)> = self.database.write_one(&FORGET, parameters).await?;
        Ok(!rows.is_empty())
    }

    /// Records one more failure, with a mail about it if there is one. `before` is what was found before
    /// the attempt: over several instances that try at once, the waits may be one step shorter for each.
    ///
    /// # Errors
    /// When the outcome is not certain.
    pub async fn failed(
        &self,
        subject: &Subject,
        before: Failures,
        mail: Option<NewMail>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let failure = Failure {
            subject: *subject,
            at: now,
            blocked_until: before.blocked_after_one_more(subject.is_known_device, now),
            mail,
        };
        self.database.write(failure).await
    }
}

struct Failure {
    subject: Subject,
    at: DateTime<Utc>,
    blocked_until: DateTime<Utc>,
    mail: Option<NewMail>,
}

impl UnitOfWork for Failure {
    type Outcome = ();

    /// A password was verified. If this were refused sooner than the session of a right password, the
    /// refusal would show that the password is wrong, and would not be counted.
    const IS_PAID: bool = true;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<()>, Error> {
        let parameters = (
            self.subject.hash.to_vec(),
            Micros(self.at),
            Micros(self.blocked_until),
            Micros(self.at - REMEMBERED),
        );
        transaction.execute(&FAILED, parameters).await?;
        if let Some(mail) = &self.mail {
            queue::add(transaction, mail).await?;
        }
        Ok(End::Commit(()))
    }
}

/// Forgets the failures of a subject, which has logged in: its own only, as the owner's login must not
/// give strangers new attempts.
///
/// # Errors
/// The driver's.
pub async fn clear(transaction: &mut Transaction, subject: &Subject) -> Result<(), Error> {
    let parameters = (subject.hash.to_vec(),);
    transaction.execute(&CLEAR, parameters).await.map(drop)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::config::Backend::{self, Postgres, Sqlite};
    use crate::platform::database::testing::TestDatabase;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).expect("in range")
    }

    fn wait_after(count: i32, is_known_device: bool) -> i64 {
        let before = Failures {
            count: count - 1,
            blocked_until: None,
        };
        let until = before.blocked_after_one_more(is_known_device, at(0));
        (until - at(0)).num_seconds()
    }

    #[test]
    fn waits_double_after_ten_failures_and_strangers_are_refused_after_a_hundred() {
        assert_eq!((1..10).map(|n| wait_after(n, false)).max(), Some(0));
        let waits: Vec<i64> = (10..18).map(|n| wait_after(n, false)).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 900, 900, 900]);
        assert_eq!(wait_after(99, false), 900);
        assert_eq!(wait_after(100, false), 30 * 86_400);
        assert_eq!(wait_after(100, true), 900);
        assert_eq!(wait_after(i32::MAX, true), 900);
    }

    fn subject(number: u8, is_known_device: bool) -> Subject {
        Subject {
            hash: [number; 32],
            is_known_device,
        }
    }

    #[rstest]
    #[tokio::test]
    async fn failures_are_counted_by_subject(#[values(Sqlite, Postgres)] backend: Backend) {
        let test = TestDatabase::new(backend).await;
        let throttle = Throttle::new(test.database.clone());
        let (stranger, device) = (subject(1, false), subject(2, true));
        for second in 0..10 {
            let before = throttle.find(&stranger, at(second)).await.expect("read");
            assert_eq!(before.wait(at(second)), None, "{second}");
            let failed = throttle.failed(&stranger, before, None, at(second)).await;
            failed.expect("written");
        }
        let found = throttle.find(&stranger, at(10)).await.expect("read");
        assert_eq!(found.wait(at(10)), Some(TimeDelta::seconds(29)));
        assert_eq!(found.wait(at(39)), None);
        let other = throttle.find(&device, at(10)).await.expect("read");
        assert_eq!(other, Failures::default());
        let later = at(0) + REMEMBERED + TimeDelta::seconds(10);
        let forgotten = throttle.find(&stranger, later).await.expect("read");
        assert_eq!(forgotten, Failures::default());
        let failed = throttle.failed(&stranger, forgotten, None, later).await;
        failed.expect("written");
        let found = throttle.find(&stranger, later).await.expect("read");
        assert_eq!(found.count, 1, "they are counted from the start again");
    }
}
