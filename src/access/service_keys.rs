//! Keys of machines: made, rotated and revoked.
//!
//! A key has no more permissions than its maker, or makes a new secret of it. While it is
//! rotated it has two secrets, so that a machine can be given the new one at any time. The response
//! with a secret is not kept: if it is lost, the key is rotated again.

#[cfg(test)]
mod contract;

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;

use super::auth_log;
use super::change::{self, Change, ChangeError};
use super::feed::Feed;
use crate::domain::{Name, Permission, Permissions, StoreError};
use crate::platform::clock::Randomness;
use crate::platform::database::{
    Database, End, Error, FromRow, Json, Micros, Row, Statement, Transaction, UnitOfWork,
};
use crate::platform::limits::{Bound, Limit};
use crate::tokens::secrets::TokenSecrets;
use crate::tokens::service_key::{self, ServiceKeyId};

/// The longest life of a key, in days.
pub const MAX_DAYS: u32 = 365;

/// Keys that have neither expired nor been revoked. The feed reads all of them every second.
pub const MAX_KEYS: usize = 5_000;

/// Keys of a page.
pub const PAGE: usize = 100;

/// How often an id is made that is not taken.
const MAX_TRIES: u32 = 3;

/// The limits that are kept here.
pub const LIMITS: &[Limit] = &[
    Limit {
        what: "Life of a service key, in days",
        bound: Bound::Count(MAX_DAYS as usize),
        effect: "422 `validation-failed`",
    },
    Limit {
        what: "Service keys that have neither expired nor been revoked",
        bound: Bound::Count(MAX_KEYS),
        effect: "409 `limit-reached`",
    },
    Limit {
        what: "Service keys of a page",
        bound: Bound::Count(PAGE),
        effect: "the rest follows after `next`",
    },
];

/// A key, as it is listed. It has no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it permits.
    pub permissions: Permissions,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it expires.
    pub expires_at: DateTime<Utc>,
    /// The last day on which it was used, as its midnight in UTC.
    pub last_used_on: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
    /// Whether it has two secrets.
    pub is_rotating: bool,
}

/// A secret that was made. It is shown once, and stored nowhere.
pub struct Issued {
    /// The id of the key.
    pub id: ServiceKeyId,
    /// The whole key.
    pub text: SecretString,
}

/// A key to make.
#[derive(Clone)]
pub struct NewKey {
    /// What it is for.
    pub name: Name,
    /// What it permits.
    pub permissions: Permissions,
    /// For how many days, 1 to [`MAX_DAYS`].
    pub days: u32,
}

/// The outcome of making a key.
pub enum CreateOutcome {
    /// It was made, and expires then.
    Created(Issued, DateTime<Utc>),
    /// The actor lacks these permissions.
    Lacking(Permissions),
    /// There are as many keys as may be.
    TooMany,
}

/// The outcome of a rotation.
pub enum RotateOutcome {
    /// The key has a new secret beside the one that is in use.
    Rotated(Issued),
    /// There is no such key, or it has expired or been revoked.
    NoSuchKey,
    /// The actor lacks these permissions of the key.
    Lacking(Permissions),
}

static INSERT: Statement = Statement::new(
    "INSERT INTO service_keys \
     (id, name, secret_hash, permissions, created_by, created_at, expires_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
);

static IS_FULL: Statement = Statement::new(
    "SELECT id FROM service_keys WHERE revoked_at IS NULL AND expires_at > $1 \
     ORDER BY id LIMIT 1 OFFSET $2",
);

// It locks the row, too.
static LOCK: Statement = Statement::new(
    "UPDATE service_keys SET expires_at = expires_at \
     WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2 RETURNING permissions",
);

static SET_NEXT: Statement = Statement::new("UPDATE service_keys SET next_hash = $2 WHERE id = $1");

static FINISH: Statement = Statement::new(
    "UPDATE service_keys SET secret_hash = next_hash, next_hash = NULL \
     WHERE id = $1 AND next_hash IS NOT NULL AND revoked_at IS NULL",
);

static REVOKE: Statement =
    Statement::new("UPDATE service_keys SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL");

static EXISTS: Statement = Statement::new("SELECT id FROM service_keys WHERE id = $1");

static PAGE_AFTER: Statement = Statement::new(
    "SELECT id, name, permissions, created_by, created_at, expires_at, last_used_on, revoked_at, \
     next_hash IS NOT NULL AS is_rotating FROM service_keys WHERE id > $1 ORDER BY id LIMIT $2",
);

fn parse(permissions: &Json<Vec<String>>) -> Permissions {
    let texts = permissions.0.iter();
    // A permission of a newer release is none here.
    texts.filter_map(|text| Permission::parse(text)).collect()
}

impl FromRow for Listed {
    fn from_row(row: Row<'_>) -> Result<Self, Error> {
        let time = |column: &str| row.get::<Micros>(column).map(|time| time.0);
        let optional = |column: &str| {
            let found: Option<Micros> = row.get(column)?;
            Ok::<_, Error>(found.map(|time| time.0))
        };
        Ok(Self {
            id: row.get("id")?,
            name: row.get("name")?,
            permissions: parse(&row.get("permissions")?),
            created_by: row.get("created_by")?,
            created_at: time("created_at")?,
            expires_at: time("expires_at")?,
            last_used_on: optional("last_used_on")?,
            revoked_at: optional("revoked_at")?,
            is_rotating: row.get("is_rotating")?,
        })
    }
}

/// The keys of machines.
#[derive(Clone)]
pub struct ServiceKeys {
    database: Database,
    secrets: Arc<TokenSecrets>,
    randomness: Arc<dyn Randomness>,
    feed: Option<Arc<Feed>>,
}

impl ServiceKeys {
    /// The keys of this database. The feed is that of the instance, if it is one.
    #[must_use]
    pub const fn new(
        database: Database,
        secrets: Arc<TokenSecrets>,
        randomness: Arc<dyn Randomness>,
        feed: Option<Arc<Feed>>,
    ) -> Self {
        Self {
            database,
            secrets,
            randomness,
            feed,
        }
    }

    /// Makes a key. `limit` is what the actor may do. If the response is lost, the key is of no use, and
    /// can be revoked or rotated.
    ///
    /// # Errors
    /// When the actor was revoked meanwhile, or the outcome is not certain: a key may have been made that no one holds.
    pub async fn create(
        &self,
        new: NewKey,
        limit: Permissions,
        change: Change,
    ) -> Result<CreateOutcome, ChangeError> {
        if !limit.includes(new.permissions) {
            let lacking = new.permissions.without(limit);
            return Ok(CreateOutcome::Lacking(lacking));
        }
        let days = new.days.clamp(1, MAX_DAYS);
        let expires_at = change.at + TimeDelta::days(i64::from(days));
        for _ in 0..MAX_TRIES {
            let id = ServiceKeyId::random(self.randomness.as_ref());
            let issued = service_key::issue(&id, self.randomness.as_ref(), &self.secrets);
            let create = Create {
                id: id.clone(),
                hash: issued.secret_hash,
                new: new.clone(),
                expires_at,
                change: change.clone(),
            };
            match change::write(&self.database, &change, create).await? {
                Inserted::Yes => {
                    self.reload().await;
                    let text = issued.text;
                    return Ok(CreateOutcome::Created(Issued { id, text }, expires_at));
                }
                Inserted::TooMany => return Ok(CreateOutcome::TooMany),
                Inserted::Taken => {}
            }
        }
        Err(StoreError::unavailable("every id was taken").into())
    }

    /// Makes a second secret of a key, beside the one in use. If there is a second one already, it is
    /// replaced: its response may have been lost. `limit` is what the actor may do.
    ///
    /// # Errors
    /// When the actor was revoked meanwhile, or the outcome is not certain: it can be repeated.
    pub async fn rotate(
        &self,
        id: ServiceKeyId,
        limit: Permissions,
        change: Change,
    ) -> Result<RotateOutcome, ChangeError> {
        let issued = service_key::issue(&id, self.randomness.as_ref(), &self.secrets);
        let rotate = Rotate {
            id: id.clone(),
            hash: issued.secret_hash,
            limit,
            change: change.clone(),
        };
        let rotated = change::write(&self.database, &change, rotate).await?;
        Ok(match rotated {
            None => RotateOutcome::NoSuchKey,
            Some(lacking) if lacking.is_empty() => {
                self.reload().await;
                let text = issued.text;
                RotateOutcome::Rotated(Issued { id, text })
            }
            Some(lacking) => RotateOutcome::Lacking(lacking),
        })
    }

    /// Ends a rotation: only the new secret is accepted from now on. Nothing happens to a key that is
    /// not being rotated. Returns whether there is such a key.
    ///
    /// # Errors
    /// When the actor was revoked meanwhile, or the outcome is not certain: it can be repeated.
    pub async fn finish_rotation(
        &self,
        id: ServiceKeyId,
        change: Change,
    ) -> Result<bool, ChangeError> {
        self.end(id, Ending::Rotation, change).await
    }

    /// Revokes a key: no instance accepts it two seconds later. Returns whether there is such a key; it
    /// may have been revoked before.
    ///
    /// # Errors
    /// When the actor was revoked meanwhile, or the outcome is not certain: it can be repeated.
    pub async fn revoke(&self, id: ServiceKeyId, change: Change) -> Result<bool, ChangeError> {
        self.end(id, Ending::Key, change).await
    }

    async fn end(
        &self,
        id: ServiceKeyId,
        what: Ending,
        change: Change,
    ) -> Result<bool, ChangeError> {
        let end = EndOf {
            id,
            what,
            change: change.clone(),
        };
        let exists = change::write(&self.database, &change, end).await?;
        if exists {
            self.reload().await;
        }
        Ok(exists)
    }

    /// A page of all keys, by id; and whether there are more.
    ///
    /// # Errors
    /// When the store is unavailable, or reports an error.
    pub async fn page(&self, after: &str) -> Result<(Vec<Listed>, bool), StoreError> {
        let most = i64::try_from(PAGE + 1).unwrap_or(i64::MAX);
        let row = (after.to_owned(), most);
        let mut page: Vec<Listed> = self.database.fetch_all_latest(&PAGE_AFTER, row).await?;
        let has_more = page.len() > PAGE;
        page.truncate(PAGE);
        Ok((page, has_more))
    }

    async fn reload(&self) {
        if let Some(feed) = &self.feed {
            feed.reload().await;
        }
    }
}

enum Inserted {
    Yes,
    Taken,
    TooMany,
}

struct Create {
    id: ServiceKeyId,
    hash: [u8; 32],
    new: NewKey,
    expires_at: DateTime<Utc>,
    change: Change,
}

impl UnitOfWork for Create {
    type Outcome = Inserted;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Inserted>, Error> {
        let Self { new, change, .. } = self;
        let at = Micros(change.at);
        // Two at once may both pass, which does no harm.
        let most = i64::try_from(MAX_KEYS - 1).unwrap_or(i64::MAX);
        let full: Option<(String,)> = transaction.fetch_optional(&IS_FULL, (at, most)).await?;
        if full.is_some() {
            return Ok(End::Rollback(Inserted::TooMany));
        }
        let permissions: Vec<&str> = new.permissions.iter().map(Permission::as_str).collect();
        let row = (
            self.id.as_str(),
            new.name.as_str(),
            &self.hash[..],
            Json(permissions),
            change.actor.to_string(),
            at,
            Micros(self.expires_at),
        );
        if transaction.execute(&INSERT, row).await? == 0 {
            return Ok(End::Rollback(Inserted::Taken));
        }
        let id = self.id.as_str();
        auth_log::append_change(transaction, change, "service_key.created", id).await?;
        Ok(End::Commit(Inserted::Yes))
    }
}

struct Rotate {
    id: ServiceKeyId,
    hash: [u8; 32],
    limit: Permissions,
    change: Change,
}

impl UnitOfWork for Rotate {
    /// What the actor lacks; `None` if there is no such key.
    type Outcome = Option<Permissions>;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Self::Outcome>, Error> {
        let id = self.id.as_str();
        let row = (id, Micros(self.change.at));
        let found: Option<(Json<Vec<String>>,)> = transaction.fetch_optional(&LOCK, row).await?;
        let Some((permissions,)) = found else {
            return Ok(End::Rollback(None));
        };
        let lacking = parse(&permissions).without(self.limit);
        if !lacking.is_empty() {
            return Ok(End::Rollback(Some(lacking)));
        }
        transaction.execute(&SET_NEXT, (id, &self.hash[..])).await?;
        auth_log::append_change(transaction, &self.change, "service_key.rotated", id).await?;
        Ok(End::Commit(Some(Permissions::NONE)))
    }
}

/// What is ended.
#[derive(Clone, Copy)]
enum Ending {
    Rotation,
    Key,
}

struct EndOf {
    id: ServiceKeyId,
    what: Ending,
    change: Change,
}

impl UnitOfWork for EndOf {
    /// Whether there is such a key.
    type Outcome = bool;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<bool>, Error> {
        let id = self.id.as_str();
        let (changed, action) = match self.what {
            Ending::Rotation => (
                transaction.execute(&FINISH, (id,)).await?,
                "service_key.rotation_finished",
            ),
            Ending::Key => (
                transaction
                    .execute(&REVOKE, (id, Micros(self.change.at)))
                    .await?,
                "service_key.revoked",
            ),
        };
        if changed == 0 {
            let found: Option<(String,)> = transaction.fetch_optional(&EXISTS, (id,)).await?;
            return Ok(End::Rollback(found.is_some()));
        }
        auth_log::append_change(transaction, &self.change, action, id).await?;
        Ok(End::Commit(true))
    }
}
