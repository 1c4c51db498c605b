//! The rows of `signing_keys`.
//!
//! The newest key is the *head*: the one row without `retired_at`, of which a unique index allows no second.
//! A party that changes which keys there are, first updates the head; so instances that do so at the same time wait
//! for each other on either database, and the second finds the head changed.

#[cfg(test)]
mod contract;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::schedule::Times;
use crate::domain::StoreError;
use crate::platform::database::{
    Database, End, Error, Json, Micros, Statement, Transaction, UnitOfWork,
};

static INSERT: Statement = Statement::new(
    "INSERT INTO signing_keys (kid, alg, public_jwk, private_sealed, created_at, active_from) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
);

// The public half is not read: it is derived from the private one, which only the secret can have sealed. So a
// row that another program wrote is no key.
static ALL: Statement = Statement::new(
    "SELECT kid, alg, private_sealed, created_at, active_from, retired_at, remove_at \
     FROM signing_keys ORDER BY active_from, kid",
);

static RETIRE: Statement = Statement::new(
    "UPDATE signing_keys SET retired_at = $2, remove_at = $3 \
     WHERE retired_at IS NULL AND active_from <= $1",
);

static LOCK_HEAD: Statement = Statement::new(
    "UPDATE signing_keys SET active_from = active_from WHERE retired_at IS NULL RETURNING kid",
);

static DELETE: Statement = Statement::new("DELETE FROM signing_keys WHERE kid = $1");

static DELETE_REMOVED: Statement = Statement::new("DELETE FROM signing_keys WHERE remove_at <= $1");

// The key that signs until its successor does.
static KEEP_ACTIVE: Statement = Statement::new(
    "UPDATE signing_keys SET retired_at = NULL, remove_at = NULL WHERE kid = \
     (SELECT kid FROM signing_keys WHERE active_from <= $1 AND retired_at > $1 \
     ORDER BY active_from DESC LIMIT 1)",
);

static ACTIVATE_HEAD: Statement = Statement::new(
    "UPDATE signing_keys SET active_from = $1 WHERE retired_at IS NULL AND active_from > $1 \
     AND NOT EXISTS (SELECT 1 FROM signing_keys AS other \
     WHERE other.active_from <= $1 AND other.retired_at > $1)",
);

static RESEAL: Statement = Statement::new(
    "UPDATE signing_keys SET private_sealed = $3 WHERE kid = $1 AND private_sealed = $2 \
     RETURNING kid",
);

/// A key to insert. The private half is sealed.
#[derive(Clone)]
pub struct NewKey {
    /// Its id.
    pub kid: String,
    /// The name of its algorithm.
    pub alg: &'static str,
    /// Its public half.
    pub public_jwk: Value,
    /// Its private half in PKCS#8, sealed with the id as name.
    pub private_sealed: Vec<u8>,
}

/// A key of the table.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// Its id.
    pub kid: String,
    /// The name of its algorithm.
    pub alg: String,
    /// Its private half in PKCS#8, sealed with the id as name.
    pub private_sealed: Vec<u8>,
    /// Its times.
    pub times: Times,
}

/// The outcome of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// The key is removed; the replacement was not needed.
    Removed,
    /// The key is removed, and the replacement signs.
    Replaced,
    /// There is no such key.
    Unknown,
    /// Another instance changed the keys at the same time. Nothing was written; a retry will succeed.
    Raced,
}

/// The store of signing keys. It uses the write connections: a replica may lag.
#[derive(Clone)]
pub struct KeyStore {
    database: Database,
}

/// A row: id, algorithm, private half, and the four times.
type Found = (
    String,
    String,
    Vec<u8>,
    Micros,
    Micros,
    Option<Micros>,
    Option<Micros>,
);

impl KeyStore {
    /// The signing keys of this database.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self { database }
    }

    /// All keys, the newest last.
    ///
    /// # Errors
    /// When the store is unavailable, or reports an error.
    pub async fn all(&self) -> Result<Vec<StoredKey>, StoreError> {
        let rows: Vec<Found> = self.database.fetch_all_latest(&ALL, ()).await?;
        let key =
            |(kid, alg, private_sealed, created_at, active_from, retired_at, remove_at): Found| {
                StoredKey {
                    kid,
                    alg,
                    private_sealed,
                    times: Times {
                        created_at: created_at.0,
                        active_from: active_from.0,
                        retired_at: retired_at.map(|time| time.0),
                        remove_at: remove_at.map(|time| time.0),
                    },
                }
            };
        Ok(rows.into_iter().map(key).collect())
    }

    /// Inserts a key that signs at once, unless there is a head. Returns whether it was inserted: of instances
    /// that start at the same time, one makes the first key.
    ///
    /// # Errors
    /// When the outcome is not certain.
    pub async fn insert_first(&self, key: NewKey, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.database.write(InsertFirst { key, now }).await
    }

    /// Replaces the head by this key, which signs after it has been published for long enough; only if the
    /// head has been active since `active_since` or longer. Returns whether it did: of instances that rotate
    /// at the same time, one does. Keys that are removed are deleted.
    ///
    /// # Errors
    /// When the outcome is not certain.
    pub async fn rotate(
        &self,
        key: NewKey,
        active_since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let rotate = Rotate {
            key,
            active_since,
            now,
        };
        self.database.write(rotate).await
    }

    /// Deletes a key at once, with its private half. If it was the active one, the published one signs from now
    /// on; if there is none, the replacement does. If it was the published one, the active one goes on.
    ///
    /// # Errors
    /// When the outcome is not certain.
    pub async fn revoke(
        &self,
        kid: String,
        replacement: NewKey,
        now: DateTime<Utc>,
    ) -> Result<Revoked, StoreError> {
        let revoke = Revoke {
            kid,
            replacement,
            now,
        };
        self.database.write(revoke).await
    }

    /// Replaces the sealed form of a private half, unless another instance has done so. Returns whether it did.
    ///
    /// # Errors
    /// When the outcome is not certain.
    pub async fn reseal(&self, kid: &str, from: &[u8], to: &[u8]) -> Result<bool, StoreError> {
        let changed: Vec<()> = self.database.write_one(&RESEAL, (kid, from, to)).await?;
        Ok(!changed.is_empty())
    }
}

async fn insert(transaction: &mut Transaction, key: &NewKey, times: Times) -> Result<bool, Error> {
    let row = (
        key.kid.as_str(),
        key.alg,
        Json(&key.public_jwk),
        key.private_sealed.as_slice(),
        Micros(times.created_at),
        Micros(times.active_from),
    );
    Ok(transaction.execute(&INSERT, row).await? == 1)
}

struct InsertFirst {
    key: NewKey,
    now: DateTime<Utc>,
}

impl UnitOfWork for InsertFirst {
    type Outcome = bool;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<bool>, Error> {
        insert(transaction, &self.key, Times::at_once(self.now))
            .await
            .map(End::Commit)
    }
}

struct Rotate {
    key: NewKey,
    active_since: DateTime<Utc>,
    now: DateTime<Utc>,
}

impl UnitOfWork for Rotate {
    type Outcome = bool;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<bool>, Error> {
        let successor = Times::successor(self.now);
        let retired = Times::retirement(successor.active_from);
        let retire = (
            Micros(self.active_since),
            Micros(retired.retired_at),
            Micros(retired.remove_at),
        );
        if transaction.execute(&RETIRE, retire).await? == 0
            || !insert(transaction, &self.key, successor).await?
        {
            return Ok(End::Rollback(false));
        }
        let removed = (Micros(self.now),);
        transaction.execute(&DELETE_REMOVED, removed).await?;
        Ok(End::Commit(true))
    }
}

struct Revoke {
    kid: String,
    replacement: NewKey,
    now: DateTime<Utc>,
}

impl UnitOfWork for Revoke {
    type Outcome = Revoked;

    async fn run(&self, transaction: &mut Transaction) -> Result<End<Revoked>, Error> {
        let head: Option<(String,)> = transaction.fetch_optional(&LOCK_HEAD, ()).await?;
        let Some((head,)) = head else {
            return Ok(End::Rollback(Revoked::Raced));
        };
        let kid = (self.kid.as_str(),);
        if transaction.execute(&DELETE, kid).await? == 0 {
            return Ok(End::Rollback(Revoked::Unknown));
        }
        let now = (Micros(self.now),);
        if head != self.kid {
            transaction.execute(&ACTIVATE_HEAD, now).await?;
            return Ok(End::Commit(Revoked::Removed));
        }
        if transaction.execute(&KEEP_ACTIVE, now).await? == 1 {
            return Ok(End::Commit(Revoked::Removed));
        }
        let replaced = insert(transaction, &self.replacement, Times::at_once(self.now)).await?;
        // It can only fail to insert a key that is there already.
        Ok(if replaced {
            End::Commit(Revoked::Replaced)
        } else {
            End::Rollback(Revoked::Raced)
        })
    }
}
