//! How many mails an address gets: `counted_mails`.
//!
//! A mail is counted for its address, whichever user it is about: the count outlives users, so that none is
//! reset by erasing an account. The address is a keyed hash there.

#[cfg(test)]
mod contract;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::queue::Kind;
use crate::domain::StoreError;
use crate::platform::database::{Database, End, Error, Micros, Statement, Transaction, UnitOfWork};
use crate::platform::limits::{Bound, Limit};
use crate::tokens::secrets::{Mac, Purpose, TokenSecrets};

/// At most this many mails in each of these times.
pub type Most = &'static [(TimeDelta, i64)];

/// Of most mails that can be asked for, by kind.
pub const MOST: Most = &[(TimeDelta::hours(1), 3), (TimeDelta::days(1), 10)];

/// Of mails about closed logins.
pub const MOST_CLOSED: Most = &[(TimeDelta::days(1), 1)];

/// Mails that are counted, and sent however many there were.
pub const ANY: Most = &[];

/// The limit that is kept here.
pub const LIMIT: Limit = Limit {
    what: "Mails of a kind that are asked for, or are to an address that is not confirmed, to an address in an hour; ten in a day",
    bound: Bound::Count(3),
    effect: "no further one is sent; the response is the same; `mail_total{outcome=\"withheld\"}`",
};

/// How long a mail is counted.
const KEPT: TimeDelta = TimeDelta::days(1);

/// Whose mails are counted together: those of a kind to an address.
#[derive(Debug, Clone, Copy)]
pub struct Subject(Mac);

impl Subject {
    /// The mails of this kind to this canonical address.
    #[must_use]
    pub fn new(secrets: &TokenSecrets, kind: Kind, address: &str) -> Self {
        let values = [kind.as_str().as_bytes(), address.as_bytes()];
        Self(secrets.mac(Purpose::MailCount, &values))
    }

    fn lock(&self) -> i64 {
        self.0.first_chunk().copied().map_or(0, i64::from_be_bytes)
    }
}

/// Whether a mail may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Sent,
    /// It may, and is the last one for some time.
    Last,
    /// Too many were sent.
    Withheld,
}

// Of mails to an address that are sent at the same moment, each counts the others.
static LOCK_POSTGRES: Statement = Statement::new("SELECT pg_advisory_xact_lock($1)");

static INSERT: Statement = Statement::new(
    "INSERT INTO counted_mails (mail_id, subject, at) VALUES ($1, $2, $3) \
     ON CONFLICT (mail_id, subject) DO NOTHING",
);

static COUNT: Statement = Statement::new(
    "SELECT count(*) AS mails FROM counted_mails WHERE subject = $1 AND at > $2 AND mail_id <> $3",
);

static PURGE: Statement = Statement::new(
    "DELETE FROM counted_mails WHERE (mail_id, subject) IN (SELECT mail_id, subject FROM counted_mails \
     WHERE at <= $1 ORDER BY at LIMIT $2) RETURNING mail_id",
);

static FORGET: Statement = Statement::new("DELETE FROM counted_mails WHERE subject = $1");

/// Counts a mail, unless it would be one too many. One that was counted is sent: an attempt before failed. If it is
/// withheld, the transaction is to be rolled back, or the mail is sent all the same.
///
/// # Errors
/// The driver's.
pub async fn admit(
    transaction: &mut Transaction,
    mail: Uuid,
    subject: Subject,
    most: Most,
    at: DateTime<Utc>,
) -> Result<Admission, Error> {
    transaction.lock(&LOCK_POSTGRES, (subject.lock(),)).await?;
    let row = (mail, subject.0.to_vec(), Micros(at));
    if transaction.execute(&INSERT, row).await? == 0 {
        return Ok(Admission::Sent);
    }
    let mut admission = Admission::Sent;
    for (time, most) in most {
        let parameters = (subject.0.to_vec(), Micros(at - *time), mail);
        let others: Option<(i64,)> = transaction.fetch_optional(&COUNT, parameters).await?;
        let others = others.map_or(0, |(mails,)| mails);
        if others >= *most {
            return Ok(Admission::Withheld);
        }
        if others + 1 == *most {
            admission = Admission::Last;
        }
    }
    Ok(admission)
}

/// Begins a count at zero.
///
/// # Errors
/// The driver's.
pub async fn forget(transaction: &mut Transaction, subject: Subject) -> Result<(), Error> {
    let row = (subject.0.to_vec(),);
    transaction.execute(&FORGET, row).await.map(drop)
}

/// Counts a mail in a transaction of its own. Returns whether it may be sent.
///
/// # Errors
/// When the outcome is not certain: it is then counted at most once.
pub async fn admit_alone(
    database: &Database,
    mail: Uuid,
    subject: Subject,
    most: Most,
    at: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let count = Count {
        mail,
        subject,
        most,
        at,
    };
    database.write(count).await
}

struct Count {
    mail: Uuid,
    subject: Subject,
    most: Most,
    at: DateTime<Utc>,
}

impl UnitOfWork for Count {
    type Outcome = bool;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<bool>, Error> {
        let Self {
            mail,
            subject,
            most,
            at,
        } = *self;
        Ok(match admit(transaction, mail, subject, most, at).await? {
            Admission::Withheld => End::Rollback(false),
            Admission::Sent | Admission::Last => End::Commit(true),
        })
    }
}

/// Removes what is not counted any more, `most` rows at once. Returns how many there were.
///
/// # Errors
/// When the outcome is not certain.
pub async fn purge(
    database: &Database,
    now: DateTime<Utc>,
    most: i32,
) -> Result<usize, StoreError> {
    let parameters = (Micros(now - KEPT), most);
    let rows: Vec<(Uuid,)> = database.write_one(&PURGE, parameters).await?;
    Ok(rows.len())
}
