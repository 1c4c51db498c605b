//! What every instance must know soon: revoked tokens, roles, and service keys.
//!
//! A change is a row that commits with its cause. Each instance reads the rows of the last minute
//! every second, so that it is known everywhere within two. A row is stamped before it commits, by
//! the clock of another machine; so the reads overlap by more than a transaction and the difference
//! of two clocks may take.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::domain::{Permission, Permissions, Role, SessionId, StoreError, TokenEpoch, UserId};
use crate::lifecycle::Lifecycle;
use crate::platform::clock::Clock;
use crate::platform::database::{
    Database, Error, FromRow, Json, Micros, Row, Statement, Transaction,
};
use crate::platform::errors::error_chain;
use crate::platform::limits::{Bound, Limit};

/// The interval between two reads.
const EVERY: Duration = Duration::from_secs(1);

/// How far a read goes back behind the one before: the rows of a transaction may commit this long
/// after they were stamped, by a clock that differs from the reader's.
pub const OVERLAP: TimeDelta = TimeDelta::seconds(60);

/// After this time without a read, the database is asked for each request.
pub const STALE_AFTER: Duration = Duration::from_secs(10);

/// How long a revocation can matter: the longest life of an access token that may be set, and what
/// clocks may differ by. Not the life that is set now: a token may be from before a change of it.
pub const LONGEST: TimeDelta = TimeDelta::minutes(65);

/// Revocations that are kept. Beyond it, the database is asked for each request.
const MAX_REVOCATIONS: usize = 1_000_000;

/// Rows of one read.
const MAX_ROWS: i32 = 10_000;

/// Service keys, and permissions of roles, that are kept.
const MAX_KEYS: i32 = 10_000;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    Limit {
        what: "Revoked sessions and users that an instance keeps",
        bound: Bound::Count(MAX_REVOCATIONS),
        effect: "protected requests ask the database",
    },
    Limit {
        what: "Time without news of revocations",
        bound: Bound::Time(STALE_AFTER),
        effect: "protected requests ask the database",
    },
    Limit {
        what: "Service keys that have not expired",
        bound: Bound::Count(MAX_KEYS as usize),
        effect: "further ones are not accepted",
    },
];

/// Access tokens that are no longer accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// Those of a session.
    Session(SessionId),
    /// Those of a user that have a lower epoch.
    User(UserId, TokenEpoch),
    /// All of a user, who was erased.
    Erased(UserId),
}

/// Whether an access token is still accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is.
    Good,
    /// It was revoked.
    Revoked,
    /// Its user was erased.
    Erased,
}

/// A service key that is accepted.
#[derive(Clone)]
pub struct ServiceKey {
    /// The keyed hashes of its secrets: two while it is rotated.
    pub hashes: Vec<[u8; 32]>,
    /// What it permits.
    pub permissions: Permissions,
    /// When it expires.
    pub expires_at: DateTime<Utc>,
    /// The last day on which a use was recorded, as its midnight in UTC.
    pub last_used_on: Option<DateTime<Utc>>,
}

/// The text in a row for a user that was erased.
const ERASED: &str = "erased";

static INSERT: Statement = Statement::new(
    "INSERT INTO revocations (id, kind, subject, min_epoch, reason, created_at, forget_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)",
);

static RECENT: Statement = Statement::new(
    "SELECT id, kind, subject, min_epoch, reason, created_at, forget_at FROM revocations \
     WHERE (created_at, id) > ($1, $2) ORDER BY created_at, id LIMIT $3",
);

static ROLES: Statement = Statement::new(
    "SELECT role, permission FROM role_permissions ORDER BY role, permission LIMIT $1",
);

static KEYS: Statement = Statement::new(
    "SELECT id, secret_hash, next_hash, permissions, expires_at, last_used_on FROM service_keys \
     WHERE revoked_at IS NULL AND expires_at > $1 ORDER BY id LIMIT $2",
);

static USED: Statement = Statement::new(
    "UPDATE service_keys SET last_used_on = $2 \
     WHERE id = $1 AND (last_used_on IS NULL OR last_used_on < $2) RETURNING id",
);

static STANDING: Statement = Statement::new(
    "SELECT s.ended_at, u.token_epoch FROM sessions s JOIN users u ON u.id = s.user_id \
     WHERE s.id = $1",
);

/// A row of the revocations.
struct Revoked {
    id: Uuid,
    revocation: Option<Revocation>,
    created_at: DateTime<Utc>,
    forget_at: DateTime<Utc>,
}

impl FromRow for Revoked {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        let kind: String = row.get("kind")?;
        let reason: String = row.get("reason")?;
        let subject: Uuid = row.get("subject")?;
        let epoch: Option<i32> = row.get("min_epoch")?;
        let revocation = match (kind.as_str(), reason.as_str(), epoch) {
            ("session", ..) => Some(Revocation::Session(SessionId::new(subject))),
            ("user", ERASED, _) => Some(Revocation::Erased(UserId::new(subject))),
            ("user", _, Some(epoch)) => Some(Revocation::User(
                UserId::new(subject),
                TokenEpoch::new(epoch),
            )),
            // Of a newer release.
            _ => None,
        };
        Ok(Self {
            id: row.get("id")?,
            revocation,
            created_at: row.get::<Micros>("created_at")?.0,
            forget_at: row.get::<Micros>("forget_at")?.0,
        })
    }
}

impl FromRow for (String, ServiceKey) {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        let hash = |bytes: Vec<u8>| <[u8; 32]>::try_from(bytes).ok();
        let secret: Vec<u8> = row.get("secret_hash")?;
        let next: Option<Vec<u8>> = row.get("next_hash")?;
        let permissions: Json<Vec<String>> = row.get("permissions")?;
        // A permission of a newer release is none here.
        let permissions = permissions
            .0
            .iter()
            .filter_map(|text| Permission::parse(text));
        let last_used_on: Option<Micros> = row.get("last_used_on")?;
        let key = ServiceKey {
            hashes: [Some(secret), next]
                .into_iter()
                .flatten()
                .filter_map(hash)
                .collect(),
            permissions: permissions.collect(),
            expires_at: row.get::<Micros>("expires_at")?.0,
            last_used_on: last_used_on.map(|day| day.0),
        };
        Ok((row.get("id")?, key))
    }
}

/// Appends a revocation. It comes after the rows of its cause in the lock order of a transaction.
///
/// # Errors
/// The driver's.
pub async fn revoke(
    transaction: &mut Transaction,
    id: Uuid,
    revocation: Revocation,
    reason: &str,
    at: DateTime<Utc>,
) -> Result<(), Error> {
    let (kind, subject, epoch) = match revocation {
        Revocation::Session(session) => ("session", session.as_uuid(), None),
        Revocation::User(user, epoch) => ("user", user.as_uuid(), Some(epoch.get())),
        Revocation::Erased(user) => ("user", user.as_uuid(), None),
    };
    let reason = match revocation {
        Revocation::Erased(_) => ERASED,
        Revocation::Session(_) | Revocation::User(..) => reason,
    };
    let forget_at = at + LONGEST;
    let row = (
        id,
        kind,
        subject,
        epoch,
        reason,
        Micros(at),
        Micros(forget_at),
    );
    transaction.execute(&INSERT, row).await.map(drop)
}

/// What this instance knows. Clones of the `Arc` share it.
pub struct Feed {
    database: Database,
    clock: Arc<dyn Clock>,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    sessions: HashMap<SessionId, DateTime<Utc>>,
    users: HashMap<UserId, Changed>,
    roles: HashMap<String, Permissions>,
    keys: HashMap<String, ServiceKey>,
    /// By the clock of this instance.
    read_until: Option<DateTime<Utc>>,
    read_at: Option<Instant>,
    /// When roles and keys were read.
    lists_read_at: Option<Instant>,
    /// When the keys were last read because one was unknown.
    keys_asked_at: Option<Instant>,
    /// Until when revocations matter that were not kept, as there were too many.
    lost_until: Option<DateTime<Utc>>,
}

/// What is revoked of a user.
#[derive(Clone, Copy)]
struct Changed {
    /// The lowest epoch that is accepted; `None` if none is.
    min_epoch: Option<TokenEpoch>,
    forget_at: DateTime<Utc>,
}

impl Known {
    fn add(&mut self, revocation: Revocation, forget_at: DateTime<Utc>) {
        if self.sessions.len() + self.users.len() >= MAX_REVOCATIONS {
            self.lost_until = self.lost_until.max(Some(forget_at));
            return;
        }
        let (user, min_epoch) = match revocation {
            Revocation::Session(session) => {
                self.sessions.insert(session, forget_at);
                return;
            }
            Revocation::User(user, epoch) => (user, Some(epoch)),
            Revocation::Erased(user) => (user, None),
        };
        let changed = self.users.entry(user).or_insert(Changed {
            min_epoch,
            forget_at,
        });
        // Rows come in any order, and more than once.
        changed.min_epoch = match (changed.min_epoch, min_epoch) {
            (Some(known), Some(other)) => Some(known.max(other)),
            _ => None,
        };
        changed.forget_at = changed.forget_at.max(forget_at);
    }

    fn forget(&mut self, now: DateTime<Utc>) {
        self.sessions.retain(|_, forget_at| *forget_at > now);
        self.users.retain(|_, changed| changed.forget_at > now);
        self.lost_until = self.lost_until.filter(|until| *until > now);
    }

    fn standing(&self, session: SessionId, user: UserId, epoch: TokenEpoch) -> Standing {
        match self.users.get(&user) {
            Some(Changed {
                min_epoch: None, ..
            }) => Standing::Erased,
            Some(Changed {
                min_epoch: Some(least),
                ..
            }) if epoch < *least => Standing::Revoked,
            _ if self.sessions.contains_key(&session) => Standing::Revoked,
            _ => Standing::Good,
        }
    }
}

impl Feed {
    /// A feed that has read nothing yet.
    #[must_use]
    pub fn new(database: Database, clock: Arc<dyn Clock>) -> Self {
        Self {
            database,
            clock,
            known: RwLock::default(),
        }
    }

    /// Reads until the service stops.
    pub fn follow(self: Arc<Self>, lifecycle: &Lifecycle) {
        let stopping = lifecycle.clone();
        lifecycle.spawn(async move {
            let follow = async {
                loop {
                    tokio::time::sleep(EVERY).await;
                    if let Err(error) = self.read().await {
                        tracing::warn!(reason = error_chain(&error), "revocations not read");
                    }
                }
            };
            tokio::select! {
                () = follow => {}
                () = stopping.stopping() => {}
            }
        });
    }

    /// Reads what is new.
    ///
    /// # Errors
    /// When the database is unavailable; what was known stays.
    pub async fn read(&self) -> Result<(), StoreError> {
        let begun = self.clock.instant();
        let now = self.clock.now();
        // A token that was revoked before cannot be valid any more.
        let all = now - LONGEST;
        let since = self.known().read_until.map_or(all, |until| until - OVERLAP);
        let mut after = (since, Uuid::nil());
        loop {
            let page: Vec<Revoked> = self
                .database
                .fetch_all_latest(&RECENT, (Micros(after.0), after.1, MAX_ROWS))
                .await?;
            let Some(last) = page.last() else { break };
            after = (last.created_at, last.id);
            let is_last = page.len() < MAX_ROWS as usize;
            let mut known = self.known_mut();
            for row in page {
                if let Some(revocation) = row.revocation {
                    known.add(revocation, row.forget_at);
                }
            }
            drop(known);
            if is_last {
                break;
            }
        }
        self.read_lists().await?;
        let mut known = self.known_mut();
        known.read_until = Some(now);
        known.read_at = Some(begun);
        known.forget(now);
        Ok(())
    }

    /// Reads roles and keys now, after they were changed by this instance. If that fails, the next read
    /// makes up for it.
    pub async fn reload(&self) {
        if let Err(error) = self.read_lists().await {
            tracing::warn!(reason = error_chain(&error), "roles and keys not read");
        }
    }

    /// Reads roles and keys, if what is known of them is too old.
    ///
    /// # Errors
    /// When the database is unavailable: they may have been taken away since.
    pub async fn ensure_lists(&self) -> Result<(), StoreError> {
        let read_at = self.known().lists_read_at;
        let age = read_at.map(|at| self.clock.instant().saturating_duration_since(at));
        if age.is_some_and(|age| age <= STALE_AFTER) {
            return Ok(());
        }
        self.read_lists().await
    }

    async fn read_lists(&self) -> Result<(), StoreError> {
        let begun = self.clock.instant();
        self.read_roles().await?;
        self.read_keys(self.clock.now()).await?;
        self.known_mut().lists_read_at = Some(begun);
        Ok(())
    }

    async fn read_roles(&self) -> Result<(), StoreError> {
        let roles: Vec<(String, String)> =
            self.database.fetch_all_latest(&ROLES, (MAX_KEYS,)).await?;
        let mut by_name: HashMap<String, Permissions> = HashMap::new();
        for (role, permission) in roles {
            let permission: Permissions = Permission::parse(&permission).into_iter().collect();
            let known = by_name.entry(role).or_default();
            *known = known.union(permission);
        }
        self.known_mut().roles = by_name;
        Ok(())
    }

    async fn read_keys(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        let keys: Vec<(String, ServiceKey)> = self
            .database
            .fetch_all_latest(&KEYS, (Micros(now), MAX_KEYS))
            .await?;
        self.known_mut().keys = keys.into_iter().collect();
        Ok(())
    }

    /// Records a revocation of this instance at once.
    pub fn add(&self, revocation: Revocation) {
        self.known_mut().add(revocation, self.clock.now() + LONGEST);
    }

    /// Whether an access token with these claims is still accepted.
    ///
    /// # Errors
    /// When the news are too old, and the database is unavailable.
    pub async fn standing(
        &self,
        session: SessionId,
        user: UserId,
        epoch: TokenEpoch,
    ) -> Result<Standing, StoreError> {
        {
            let known = self.known();
            let age = known
                .read_at
                .map(|at| self.clock.instant().saturating_duration_since(at));
            let is_current =
                age.is_some_and(|age| age <= STALE_AFTER) && known.lost_until.is_none();
            let standing = known.standing(session, user, epoch);
            if is_current || standing != Standing::Good {
                return Ok(standing);
            }
        }
        let row: Option<(Option<Micros>, i32)> = self
            .database
            .fetch_latest(&STANDING, (session.as_uuid(),))
            .await?;
        Ok(match row {
            Some((None, current)) if epoch.get() >= current => Standing::Good,
            _ => Standing::Revoked,
        })
    }

    /// The age of the news; `None` if there were none yet.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let read_at = self.known().read_at?;
        Some(self.clock.instant().saturating_duration_since(read_at))
    }

    /// What these roles permit. A role that is unknown permits nothing.
    pub fn permissions<'a>(&self, roles: impl IntoIterator<Item = &'a str>) -> Permissions {
        let known = self.known();
        let of = |role: &str| {
            let own = || known.roles.get(role).copied();
            Role::built_in(role).or_else(own).unwrap_or_default()
        };
        roles
            .into_iter()
            .fold(Permissions::NONE, |all, role| all.union(of(role)))
    }

    /// A service key that has not been revoked.
    #[must_use]
    pub fn service_key(&self, id: &str) -> Option<ServiceKey> {
        let known = self.known();
        let key = known.keys.get(id)?;
        (key.expires_at > self.clock.now()).then(|| key.clone())
    }

    /// A service key that another instance may have made a moment ago: reads the keys, at most once a
    /// second.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn look_up_key(&self, id: &str) -> Result<Option<ServiceKey>, StoreError> {
        let now = self.clock.instant();
        {
            let mut known = self.known_mut();
            let asked = known.keys_asked_at;
            if asked.is_some_and(|at| now.saturating_duration_since(at) < EVERY) {
                return Ok(None);
            }
            known.keys_asked_at = Some(now);
        }
        self.read_keys(self.clock.now()).await?;
        Ok(self.service_key(id))
    }

    /// Notes a use of a key on this day. Returns whether it is the first one.
    pub fn note_use(&self, id: &str, day: DateTime<Utc>) -> bool {
        let mut known = self.known_mut();
        let Some(key) = known.keys.get_mut(id) else {
            return false;
        };
        let is_first = key.last_used_on.is_none_or(|last| last < day);
        if is_first {
            key.last_used_on = Some(day);
        }
        is_first
    }

    /// Records the day of a use of a key.
    ///
    /// # Errors
    /// When the database is unavailable.
    pub async fn record_use(&self, id: &str, day: DateTime<Utc>) -> Result<(), StoreError> {
        let rows = self.database.write_one(&USED, (id.to_owned(), Micros(day)));
        rows.await.map(|_: Vec<(String,)>| ())
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        // No writer panics in the middle of a change.
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
