//! Sends what is due in the queue.
//!
//! Each instance leases a few mails at a time. Mails to one domain are sent a few at once, so that one
//! that is slow holds up no other. A server that cannot be reached costs no mail an attempt: the round
//! ends, and the next ones are further apart until one succeeds.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::stream::{FuturesUnordered, StreamExt};
use secrecy::ExposeSecret;
use tokio::sync::Semaphore;

use super::counts::{self, Admission, Most, Subject};
use super::links::{self, Link};
use super::message::{Letter, Renderer};
use super::queue::{self, Kind, Leased, Queue};
use super::transport::{SendError, Transport};
use super::{Addressee, MailMetrics};
use crate::domain::{Email, StoreError, UserId};
use crate::platform::clock::{Clock, Randomness, uuid_v7};
use crate::platform::database::{Database, End, Error, Statement, Transaction, UnitOfWork};
use crate::platform::errors::error_chain;
use crate::platform::limits::{Bound, Limit};
use crate::tokens::one_time::{Grant, Use};
use crate::tokens::secrets::TokenSecrets;

/// Mails that are under way at once.
const BATCH: usize = 20;

/// How often it is looked what else is due, while mails are under way.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The interval between two removals of old rows.
const PURGE_EVERY: Duration = Duration::from_mins(10);

/// Rows that are removed at once.
const PURGED: i32 = 500;

/// How long a lease lasts. A mail has had its turn by then, and was sent or not.
const LEASE: TimeDelta = TimeDelta::seconds(90);

/// The interval between attempts to mark a mail.
const MARK_EVERY: Duration = Duration::from_secs(1);

/// Mails to one domain that are sent at once.
const PER_DOMAIN: usize = 4;

/// How long a mail waits for its turn among those to its domain. Then it gives its place up: else the mails to one
/// slow domain, which a stranger can ask for, would take all places.
const TURN: Duration = Duration::from_secs(5);

/// When a mail that has given its place up is due again.
const ANOTHER_TURN: TimeDelta = TimeDelta::seconds(10);

/// The wait after the first failure of a mail. It doubles.
const FIRST_WAIT: TimeDelta = TimeDelta::seconds(10);

/// The longest wait between two attempts.
const LONGEST_WAIT: TimeDelta = TimeDelta::hours(1);

/// The age at which a mail that fails is given up.
const GIVEN_UP_AFTER: TimeDelta = TimeDelta::hours(24);

/// The longest pause after the server could not be reached.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    Limit {
        what: "Mails to one domain that an instance sends at once",
        bound: Bound::Count(PER_DOMAIN),
        effect: "further ones wait",
    },
    Limit {
        what: "Sending a mail",
        bound: Bound::Time(super::transport::TIMEOUT),
        effect: "it is tried again after 10 s, doubling to 1 h, for a day",
    },
    counts::LIMIT,
];

static BY_ADDRESS: Statement = Statement::new(
    "SELECT u.id, r.name, u.locale, r.email, u.email_canonical, u.status, u.email_verified_at, u.token_epoch \
     FROM users u JOIN users_read r ON r.id = u.id WHERE u.email_canonical = $1",
);

static BY_ID: Statement = Statement::new(
    "SELECT u.id, r.name, u.locale, r.email, u.email_canonical, u.status, u.email_verified_at, u.token_epoch \
     FROM users u JOIN users_read r ON r.id = u.id WHERE u.id = $1",
);

// A token voids the one before: of requests for one account, one comes after the other.
static LOCK_POSTGRES: Statement =
    Statement::new("SELECT id FROM users WHERE id = $1 FOR NO KEY UPDATE");

/// The parts of a delivery.
pub struct Delivery {
    pub(super) database: Database,
    pub(super) queue: Queue,
    pub(super) secrets: Arc<TokenSecrets>,
    pub(super) renderer: Renderer,
    pub(super) transport: Transport,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) randomness: Arc<dyn Randomness>,
    pub(super) metrics: MailMetrics,
    pub(super) breaker: Mutex<Breaker>,
    /// When old rows were last removed.
    pub(super) purged_at: Mutex<Option<Instant>>,
}

/// When the server may be tried again.
#[derive(Default)]
pub(super) struct Breaker {
    pause: Duration,
    until: Option<Instant>,
}

/// The turns of the mails to each domain that are under way.
#[derive(Default)]
struct Domains(Mutex<HashMap<String, Arc<Semaphore>>>);

impl Domains {
    fn of(&self, address: &str) -> Arc<Semaphore> {
        let domain = address.rsplit('@').next().unwrap_or_default();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let turns = all.entry(domain.to_ascii_lowercase());
        Arc::clone(turns.or_insert_with(|| Arc::new(Semaphore::new(PER_DOMAIN))))
    }

    /// Forgets domains to which no mail is under way.
    fn forget_idle(&self) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, turns| Arc::strong_count(turns) > 1);
    }
}

/// What becomes of a mail after an attempt.
enum Fate {
    /// It was sent at this time.
    Sent(DateTime<Utc>),
    /// It was sent or given up, and its row goes.
    Removed,
    /// It is tried again.
    Later {
        next_at: DateTime<Utc>,
        attempts: i32,
        reason: &'static str,
    },
    /// It was given up at this time, for this reason.
    Dead(DateTime<Utc>, &'static str),
}

/// What to send.
enum Resolved {
    /// This, to this user.
    Letter(Box<Addressee>, Option<Grant>, Kind),
    /// Nothing: its address has had too many of this kind.
    Withheld(Kind),
    /// Nothing: it is for no one, or not valid any more.
    Nothing,
}

impl Delivery {
    /// Sends what is due. While a mail is slow, others take the places beside it.
    pub async fn round(&self) {
        let domains = Domains::default();
        let mut sending = FuturesUnordered::new();
        let mut looked_at = None;
        loop {
            let now = self.clock.instant();
            let is_time =
                looked_at.is_none_or(|at| now.saturating_duration_since(at) >= LOOK_EVERY);
            if is_time {
                looked_at = Some(now);
                beside(self.look_after(), &mut sending).await;
            }
            // Several places are filled by one statement.
            if (is_time && sending.len() < BATCH) || sending.len() <= BATCH / 2 {
                domains.forget_idle();
                let most = BATCH - sending.len();
                for mail in beside(self.lease(most), &mut sending).await {
                    sending.push(self.deliver(mail, &domains));
                }
            }
            if sending.is_empty() {
                return;
            }
            let _ = tokio::time::timeout(LOOK_EVERY, sending.next()).await;
        }
    }

    /// Removes old rows from time to time, and counts what waits. What has waited for months, as no mail
    /// was sent, is not sent any more.
    async fn look_after(&self) {
        if let Err(error) = self.purge().await {
            tracing::warn!(reason = error_chain(&error), "old mails not removed");
        }
        match self.queue.backlog(self.clock.now()).await {
            Ok((oldest, dead)) => self.metrics.backlog(oldest, dead),
            Err(error) => {
                tracing::warn!(reason = error_chain(&error), "mails that wait not counted");
            }
        }
    }

    /// Leases what is due, this many mails at most; none while the server is left alone.
    async fn lease(&self, most: usize) -> Vec<Leased> {
        if self.is_paused() {
            return Vec::new();
        }
        let most = i32::try_from(most).unwrap_or(i32::MAX);
        let leased = self.queue.lease(self.clock.now(), LEASE, most).await;
        leased.unwrap_or_else(|error| {
            tracing::warn!(reason = error_chain(&error), "no mail leased");
            Vec::new()
        })
    }

    /// Removes old rows, from time to time.
    async fn purge(&self) -> Result<(), StoreError> {
        let now = self.clock.instant();
        {
            let purged = &self.purged_at;
            let mut purged_at = purged.lock().unwrap_or_else(PoisonError::into_inner);
            if purged_at.is_some_and(|at| now.saturating_duration_since(at) < PURGE_EVERY) {
                return Ok(());
            }
            *purged_at = Some(now);
        }
        let now = self.clock.now();
        while self.queue.purge(now, PURGED).await? == PURGED as usize {}
        while links::purge(&self.database, now, PURGED).await? == PURGED as usize {}
        while counts::purge(&self.database, now, PURGED).await? == PURGED as usize {}
        Ok(())
    }

    /// Sends a mail, and marks it. An error of the database is logged: its lease ends by itself.
    async fn deliver(&self, mail: Leased, domains: &Domains) {
        if let Err(error) = self.try_deliver(&mail, domains).await {
            let reason = error_chain(&error);
            tracing::warn!(mail_id = %mail.id, reason, "mail not marked");
        }
    }

    async fn try_deliver(&self, mail: &Leased, domains: &Domains) -> Result<(), StoreError> {
        let (to, grant, kind) = match self.resolve(mail).await? {
            Resolved::Letter(to, grant, kind) => (to, grant, kind),
            Resolved::Withheld(kind) => {
                self.metrics.sent(kind, "withheld");
                return self.queue.remove(mail).await;
            }
            Resolved::Nothing => return self.queue.remove(mail).await,
        };
        let token = grant.as_ref().map(|grant| grant.token(&self.secrets));
        let letter = Letter {
            id: mail.id,
            kind,
            to: &to.email,
            // To one who has not shown that the mailbox is theirs it may be a text of a stranger.
            name: if to.is_verified { &to.name } else { "" },
            locale: to.locale.as_ref(),
            token: token.as_ref().map(ExposeSecret::expose_secret),
            purpose: grant.as_ref().map(|grant| grant.purpose),
            at: mail.created_at,
        };
        let sent = match self.renderer.render(&letter) {
            Ok(message) => {
                let turns = domains.of(&to.email);
                let Ok(_turn) = tokio::time::timeout(TURN, turns.acquire()).await else {
                    return self.mark(mail, &self.another_turn(mail)).await;
                };
                let at = mail.created_at.format("%Y%m%dT%H%M%SZ");
                let name = format!("{at}-{}-{}.eml", kind.as_str(), mail.id);
                if self.is_paused() {
                    Err(SendError::Unreachable("connection"))
                } else {
                    self.transport.send(&name, message).await
                }
            }
            Err(reason) => Err(SendError::Permanent(reason)),
        };
        let fate = self.fate(mail, kind, sent);
        self.mark(mail, &fate).await
    }

    /// The place of a mail whose turn did not come is for one to another domain.
    fn another_turn(&self, mail: &Leased) -> Fate {
        Fate::Later {
            next_at: self.clock.now() + ANOTHER_TURN,
            // It was not the mail's fault.
            attempts: mail.attempts - 1,
            reason: "turn",
        }
    }

    /// What becomes of a mail after an attempt.
    fn fate(&self, mail: &Leased, kind: Kind, sent: Result<(), SendError>) -> Fate {
        let now = self.clock.now();
        // Nothing of it is kept: its address is of no account any more.
        let is_last = mail.kind == Kind::Erased;
        match sent {
            Ok(()) => {
                self.breaker().close();
                self.metrics.sent(kind, "sent");
                if is_last {
                    Fate::Removed
                } else {
                    Fate::Sent(now)
                }
            }
            Err(SendError::Unreachable(reason)) => {
                self.metrics.sent(kind, "unreachable");
                let pause = self.breaker().open(self.clock.instant());
                tracing::warn!(mail_id = %mail.id, reason, "mail server cannot be used");
                Fate::Later {
                    next_at: now + TimeDelta::from_std(pause).unwrap_or_default(),
                    // It was not the mail's fault.
                    attempts: mail.attempts - 1,
                    reason,
                }
            }
            Err(SendError::Temporary(reason)) if now - mail.created_at < GIVEN_UP_AFTER => {
                self.metrics.sent(kind, "deferred");
                tracing::warn!(mail_id = %mail.id, reason, attempts = mail.attempts, "mail not sent yet");
                Fate::Later {
                    next_at: now + wait_after(mail.attempts),
                    attempts: mail.attempts,
                    reason,
                }
            }
            Err(SendError::Temporary(reason) | SendError::Permanent(reason)) => {
                self.metrics.sent(kind, "dead");
                tracing::error!(mail_id = %mail.id, reason, "mail given up");
                if is_last {
                    Fate::Removed
                } else {
                    Fate::Dead(now, reason)
                }
            }
        }
    }

    /// Marks a mail. While the database does not take it, it is tried again until the lease ends: then the mail
    /// would be sent once more.
    async fn mark(&self, mail: &Leased, fate: &Fate) -> Result<(), StoreError> {
        loop {
            let marked = match *fate {
                Fate::Sent(at) => self.queue.sent(mail, at).await,
                Fate::Removed => self.queue.remove(mail).await,
                Fate::Later {
                    next_at,
                    attempts,
                    reason,
                } => self.queue.later(mail, next_at, attempts, reason).await,
                Fate::Dead(at, reason) => self.queue.dead(mail, at, reason).await,
            };
            if marked.is_ok() || self.clock.now() + MARK_EVERY >= mail.leased_until() {
                return marked;
            }
            tokio::time::sleep(MARK_EVERY).await;
        }
    }

    /// Finds out to whom a mail goes, and with which token. For a request this is where it is looked
    /// up whether the address has an account, so that the request itself takes as long for any address.
    async fn resolve(&self, mail: &Leased) -> Result<Resolved, StoreError> {
        match mail.kind {
            Kind::VerifyRequest => self.resolve_request(mail, Use::Verify, Kind::Verify).await,
            Kind::ResetRequest => self.resolve_request(mail, Use::Reset, Kind::Reset).await,
            Kind::LoginClosedRequest => {
                self.resolve_request(mail, Use::Recover, Kind::LoginClosed)
                    .await
            }
            Kind::SignupRequest => self.resolve_signup(mail).await,
            Kind::Verify
            | Kind::Reset
            | Kind::LoginClosed
            | Kind::SetPassword
            | Kind::ConfirmEmail
            | Kind::EmailChanging
            | Kind::EmailChanged
            | Kind::EmailRestored => self.resolve_link(mail).await,
            Kind::PasswordChanged | Kind::SessionReused | Kind::AccountExists => {
                self.resolve_notice(mail).await
            }
            Kind::AddressReserved => Ok(Resolved::Nothing),
            Kind::Erased => match self.unsealed(mail) {
                Some(email) => self.to_stranger(mail, email, mail.kind).await,
                None => Ok(Resolved::Nothing),
            },
        }
    }

    /// To an address that is of no account.
    async fn to_stranger(
        &self,
        mail: &Leased,
        email: String,
        kind: Kind,
    ) -> Result<Resolved, StoreError> {
        let canonical = Email::parse(&email).map(|email| email.canonical().to_owned());
        let address = canonical.unwrap_or_else(|_| email.clone());
        if !mail.is_confirmed && !self.admits(mail, kind, &address, counts::MOST).await? {
            return Ok(Resolved::Withheld(kind));
        }
        let to = Addressee::stranger(email, mail.locale.clone());
        Ok(Resolved::Letter(Box::new(to), None, kind))
    }

    /// Counts a mail for its address. Returns whether it may be sent.
    async fn admits(
        &self,
        mail: &Leased,
        kind: Kind,
        address: &str,
        most: Most,
    ) -> Result<bool, StoreError> {
        let subject = Subject::new(&self.secrets, kind, address);
        let now = self.clock.now();
        counts::admit_alone(&self.database, mail.id, subject, most, now).await
    }

    async fn resolve_notice(&self, mail: &Leased) -> Result<Resolved, StoreError> {
        let to = match mail.user {
            Some(user) => self.by_id(user).await?,
            None => None,
        };
        let Some(to) = to else {
            return Ok(Resolved::Nothing);
        };
        // A stranger may have made an account with an address that was never confirmed.
        if !to.is_verified
            && !self
                .admits(mail, mail.kind, &to.address, counts::MOST)
                .await?
        {
            return Ok(Resolved::Withheld(mail.kind));
        }
        Ok(Resolved::Letter(Box::new(to), None, mail.kind))
    }

    /// A mail with a link goes to the address that it is about: to a new one before it is that of the
    /// account, to an old one even after.
    async fn resolve_link(&self, mail: &Leased) -> Result<Resolved, StoreError> {
        let (Some(user), Some(token)) = (mail.user, mail.token) else {
            return Ok(Resolved::Nothing);
        };
        let to = self.by_id(user).await?;
        let link = links::by_id(&self.database, token).await?;
        let Some((mut to, link)) = to.zip(link).filter(|(to, link)| self.is_live(to, link)) else {
            return Ok(Resolved::Nothing);
        };
        if let Some(email) = link.grant.new_email.clone() {
            to.email = email;
        }
        let address = links::destination(&link.grant);
        if address != to.address {
            to.is_verified = mail.is_confirmed;
        }
        let most = match mail.kind {
            // The way back of an owner is always sent.
            Kind::EmailChanging | Kind::EmailChanged if to.is_verified => None,
            Kind::ConfirmEmail | Kind::EmailChanging | Kind::EmailChanged => Some(counts::MOST),
            // That of the signup is never withheld, and leaves less for requests.
            Kind::Verify => Some(counts::ANY),
            _ => None,
        };
        // Before it is looked up who has the address: what becomes of it shows in the export of the user who asked.
        if let Some(most) = most
            && !self.admits(mail, mail.kind, &address, most).await?
        {
            return Ok(Resolved::Withheld(mail.kind));
        }
        if mail.kind == Kind::ConfirmEmail {
            let owner = self.by_address(address).await?;
            if let Some(owner) = owner.filter(|owner| owner.id != to.id) {
                // Only the owner of the mailbox learns that it has an account.
                return Ok(Resolved::Letter(Box::new(owner), None, Kind::AccountExists));
            }
        }
        Ok(Resolved::Letter(Box::new(to), Some(link.grant), mail.kind))
    }

    fn is_live(&self, to: &Addressee, link: &Link) -> bool {
        link.is_live(to.epoch, self.clock.now())
            && (link.grant.address == to.address || link.grant.purpose == Use::Undo)
    }

    /// An address that wanted to sign up and has an account: one that was never verified can be taken by
    /// a reset, since only its owner gets the mail.
    async fn resolve_signup(&self, mail: &Leased) -> Result<Resolved, StoreError> {
        let Some(address) = self.unsealed(mail) else {
            return Ok(Resolved::Nothing);
        };
        match self.by_address(address.clone()).await? {
            Some(to) if !to.is_verified => {
                self.resolve_request(mail, Use::Reset, Kind::Reset).await
            }
            Some(to) => self.turn(mail, to, None, Kind::AccountExists).await,
            None if links::is_reserved(&self.database, &address, self.clock.now()).await? => {
                self.to_stranger(mail, address, Kind::AddressReserved).await
            }
            None => Ok(Resolved::Nothing),
        }
    }

    /// Turns a request into a mail of this kind to this user.
    async fn turn(
        &self,
        mail: &Leased,
        to: Addressee,
        grant: Option<Grant>,
        kind: Kind,
    ) -> Result<Resolved, StoreError> {
        let turn = Turn {
            mail: mail.clone(),
            kind,
            user: to.id,
            is_verified: to.is_verified,
            subject: Subject::new(&self.secrets, kind, &to.address),
            grant,
            at: self.clock.now(),
        };
        Ok(match self.database.write(turn).await? {
            Turned::Into(grant) => Resolved::Letter(Box::new(to), grant, kind),
            Turned::Withheld => Resolved::Withheld(kind),
            Turned::Late => Resolved::Nothing,
        })
    }

    fn unsealed(&self, mail: &Leased) -> Option<String> {
        let sealed = mail.to_sealed.as_deref().unwrap_or_default();
        super::unseal(&self.secrets, mail.id, sealed)
    }

    async fn resolve_request(
        &self,
        mail: &Leased,
        purpose: Use,
        kind: Kind,
    ) -> Result<Resolved, StoreError> {
        let Some(address) = self.unsealed(mail) else {
            return Ok(Resolved::Nothing);
        };
        let found = self.by_address(address).await?;
        let wanted = |to: &Addressee| to.is_active && (purpose != Use::Verify || !to.is_verified);
        let Some(to) = found.filter(wanted) else {
            return Ok(Resolved::Nothing);
        };
        let now = self.clock.now();
        let grant = Grant {
            id: uuid_v7(now, self.randomness.as_ref()),
            user: to.id,
            purpose,
            address: to.address.clone(),
            new_email: None,
            epoch: to.epoch,
            expires_at: now + links::life(purpose),
        };
        self.turn(mail, to, Some(grant), kind).await
    }

    async fn by_id(&self, user: UserId) -> Result<Option<Addressee>, StoreError> {
        self.database.fetch_latest(&BY_ID, (user.as_uuid(),)).await
    }

    async fn by_address(&self, address: String) -> Result<Option<Addressee>, StoreError> {
        self.database.fetch_latest(&BY_ADDRESS, (address,)).await
    }

    fn is_paused(&self) -> bool {
        let until = self.breaker().until;
        until.is_some_and(|until| self.clock.instant() < until)
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Breaker {
    fn close(&mut self) {
        *self = Self::default();
    }

    /// Begins a pause, unless one has begun. Returns how long it is.
    fn open(&mut self, now: Instant) -> Duration {
        if self.until.is_none_or(|until| until <= now) {
            self.pause = (self.pause * 2).clamp(Duration::from_secs(1), LONGEST_PAUSE);
            self.until = Some(now + self.pause);
        }
        self.pause
    }
}

/// Does this while mails are under way: a mail server does not wait for the database, and a database that is
/// away must not look like a mail server that is slow.
async fn beside<T>(
    work: impl Future<Output = T>,
    sending: &mut FuturesUnordered<impl Future<Output = ()>>,
) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            Some(()) = sending.next() => {}
        }
    }
}

/// The wait after this many attempts.
fn wait_after(attempts: i32) -> TimeDelta {
    let doublings = u32::try_from(attempts - 1).unwrap_or(0).min(16);
    let wait = FIRST_WAIT.checked_mul(1 << doublings);
    wait.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)
}

/// Turns a request into a mail to a user, with its token if it has one, unless the address has had too many:
/// from then on each attempt has the same one.
struct Turn {
    mail: Leased,
    kind: Kind,
    user: UserId,
    is_verified: bool,
    subject: Subject,
    grant: Option<Grant>,
    at: DateTime<Utc>,
}

/// What became of a request.
enum Turned {
    /// A mail, with this token.
    Into(Option<Grant>),
    /// Nothing: its address has had too many.
    Withheld,
    /// Nothing: it is not this instance's any more.
    Late,
}

impl UnitOfWork for Turn {
    type Outcome = Turned;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Turned>, Error> {
        let user = self.user;
        transaction.lock(&LOCK_POSTGRES, (user.as_uuid(),)).await?;
        let most = match self.kind {
            Kind::LoginClosed => counts::MOST_CLOSED,
            _ => counts::MOST,
        };
        let admission =
            counts::admit(transaction, self.mail.id, self.subject, most, self.at).await?;
        let mut grant = self.grant.clone();
        let reset = grant.as_mut().filter(|grant| grant.purpose == Use::Reset);
        let is_last = match (admission, &reset) {
            (Admission::Last, _) => true,
            (Admission::Withheld, Some(reset)) if self.is_verified => {
                let (epoch, now) = (reset.epoch, self.at);
                !links::has_recovery(transaction, user, epoch, now).await?
            }
            _ => false,
        };
        if admission == Admission::Withheld && !is_last {
            return Ok(End::Rollback(Turned::Withheld));
        }
        // Others can ask for all mails that there are, and make links void. An owner to whom none is sent has one that
        // works.
        if let Some(reset) = reset.filter(|_| is_last) {
            reset.purpose = Use::Recover;
            reset.expires_at = self.at + links::life(Use::Recover);
        }
        if let Some(grant) = &grant {
            links::add(transaction, grant, self.at).await?;
        }
        let token = grant.as_ref().map(|grant| grant.id);
        let turned = queue::turn_into(transaction, &self.mail, self.kind, user, token).await?;
        Ok(if turned {
            End::Commit(Turned::Into(grant))
        } else {
            End::Rollback(Turned::Late)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The work ends only once a mail was sent, which takes two steps.
    #[tokio::test]
    async fn mails_are_sent_while_the_database_is_waited_for() {
        let (sent, waits_for_it) = tokio::sync::oneshot::channel();
        let mut sending = FuturesUnordered::new();
        sending.push(async {
            tokio::task::yield_now().await;
            sent.send(()).expect("it is waited for");
        });
        let work = tokio::time::timeout(Duration::from_secs(10), waits_for_it);
        let done = beside(work, &mut sending).await;
        done.expect("it was sent").expect("it was sent");
        assert_eq!(beside(async { 7 }, &mut sending).await, 7, "none is left");
    }

    #[test]
    fn waits_double_from_ten_seconds_to_an_hour() {
        let waits: Vec<i64> = (1..12).map(|n| wait_after(n).num_seconds()).collect();
        assert_eq!(
            waits,
            [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]
        );
        assert_eq!(wait_after(i32::MAX), LONGEST_WAIT);
        assert_eq!(wait_after(0), FIRST_WAIT);
    }

    #[test]
    fn pauses_double_to_a_minute_and_end_with_a_success() {
        let mut breaker = Breaker::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let pause = breaker.open(now);
            assert_eq!(
                breaker.open(now),
                pause,
                "one failure more in the same round"
            );
            pauses.push(pause.as_secs());
            now += pause;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        breaker.close();
        assert_eq!(breaker.open(now), Duration::from_secs(1));
    }
}
