//! The signing keys in memory.

#[cfg(test)]
mod tests;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use super::key::{KeyError, SigningKey};
use super::schedule::{self, RELOAD_EVERY, ROTATE_AFTER, State, Times};
use super::store::{KeyStore, NewKey, Revoked, StoredKey};
use crate::config::{AuthSettings, TokenAlgorithm};
use crate::domain::StoreError;
use crate::lifecycle::Lifecycle;
use crate::platform::clock::Clock;
use crate::platform::database::Database;
use crate::platform::errors::error_chain;
use crate::tokens::secrets::TokenSecrets;

/// How often the table is read because of a key that is not known, at most. In between, unknown keys are
/// invalid without a query.
pub const UNKNOWN_EVERY: Duration = Duration::from_secs(5);

/// How often a revocation is tried that another instance keeps out.
const MAX_TRIES: u32 = 5;

/// The keys cannot be used or changed. The text is one line for the terminal.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key cannot be made.
    #[error("cannot make a signing key: {0}")]
    Generate(KeyError),
    /// The key of the settings cannot be used.
    #[error("TOKEN_KEY cannot be used: {0}")]
    Setting(KeyError),
    /// No key can be decrypted.
    #[error(
        "no signing key in the database can be decrypted: set AUTH_SECRET_PREVIOUS to the secret from \
         before, or revoke the keys by `signup-service keys revoke`"
    )]
    Sealed,
    /// The key of the settings is not one of the table's.
    #[error("the signing key is that of TOKEN_KEY: replace it there")]
    Fixed,
    /// A new key was published a short time ago.
    #[error("a new key is published already, and does not sign yet")]
    Pending,
    /// There is no such key.
    #[error("there is no such key")]
    Unknown,
    /// Other instances changed the keys each time.
    #[error("other instances change the keys; try again")]
    Contended,
}

/// A key as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub kid: String,
    /// The name of its algorithm.
    pub algorithm: String,
    /// Its times.
    pub times: Times,
    /// Its state now.
    pub state: State,
}

/// The signing keys, as of the last time that they were read.
pub struct Keyring {
    clock: Arc<dyn Clock>,
    source: Source,
}

enum Source {
    /// The table.
    Table(Box<Table>),
    /// A key of the settings.
    Fixed(Entry),
}

struct Table {
    store: KeyStore,
    secrets: Arc<TokenSecrets>,
    algorithm: TokenAlgorithm,
    /// Sorted as by the store. Few.
    loaded: RwLock<Arc<[Entry]>>,
    /// Held while the table is read, so that an older state never replaces a newer one. When it was last read
    /// because of an unknown key.
    reading: Mutex<Option<Instant>>,
}

#[derive(Clone)]
struct Entry {
    key: Arc<SigningKey>,
    times: Times,
    /// What it was opened from.
    private_sealed: Vec<u8>,
}

impl Keyring {
    /// Reads the keys, and makes the first one if there is none; or uses the key of the settings.
    ///
    /// # Errors
    /// One line that says what to fix.
    pub async fn open(
        database: Database,
        secrets: Arc<TokenSecrets>,
        settings: &AuthSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, KeyringError> {
        let keyring = Self::unread(database, secrets, settings, clock)?;
        if matches!(keyring.source, Source::Table(_)) {
            keyring.load_or_make_first().await?;
        }
        Ok(keyring)
    }

    /// The keys, none of which was read yet; or the key of the settings. They can be listed, rotated and
    /// revoked, also if none can be decrypted.
    ///
    /// # Errors
    /// When the key of the settings cannot be used.
    pub fn unread(
        database: Database,
        secrets: Arc<TokenSecrets>,
        settings: &AuthSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, KeyringError> {
        if let Some(pem) = &settings.token_key {
            let key = SigningKey::from_pem(pem).map_err(KeyringError::Setting)?;
            return Ok(Self::fixed(key, clock));
        }
        let table = Table {
            store: KeyStore::new(database),
            secrets,
            algorithm: settings.token_algorithm,
            loaded: RwLock::new(Arc::new([])),
            reading: Mutex::new(None),
        };
        Ok(Self {
            source: Source::Table(Box::new(table)),
            clock,
        })
    }

    /// A single key, which never changes.
    #[must_use]
    pub fn fixed(key: SigningKey, clock: Arc<dyn Clock>) -> Self {
        let entry = Entry {
            key: Arc::new(key),
            times: Times::at_once(clock.now()),
            private_sealed: Vec::new(),
        };
        Self {
            clock,
            source: Source::Fixed(entry),
        }
    }

    async fn load_or_make_first(&self) -> Result<(), KeyringError> {
        let table = self.table()?;
        if table.reload().await? == 0 {
            let key = table.new_key().await?;
            // Another instance may be first; then its key is read.
            table.store.insert_first(key, self.clock.now()).await?;
            table.reload().await?;
        }
        if self.active().is_none() {
            return Err(KeyringError::Sealed);
        }
        Ok(())
    }

    /// The key that signs now.
    #[must_use]
    pub fn active(&self) -> Option<Arc<SigningKey>> {
        let entries = self.entries();
        let times: Vec<Times> = entries.iter().map(|entry| entry.times).collect();
        let active = schedule::active(&times, self.clock.now())?;
        entries.get(active).map(|entry| Arc::clone(&entry.key))
    }

    /// How long the active key has been signing.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let entries = self.entries();
        let times: Vec<Times> = entries.iter().map(|entry| entry.times).collect();
        let now = self.clock.now();
        let active = times.get(schedule::active(&times, now)?)?;
        Some((now - active.active_from).to_std().unwrap_or_default())
    }

    /// The key with this id, if its tokens are valid. It makes no query.
    #[must_use]
    pub fn find(&self, kid: &str) -> Option<Arc<SigningKey>> {
        let now = self.clock.now();
        let entries = self.entries();
        let found = entries.iter().find(|entry| entry.key.kid() == kid)?;
        found.times.is_valid(now).then(|| Arc::clone(&found.key))
    }

    /// The key with this id, after the table was read again; at most every [`UNKNOWN_EVERY`].
    pub async fn look_up(&self, kid: &str) -> Option<Arc<SigningKey>> {
        if let Source::Table(table) = &self.source {
            // Others that ask meanwhile wait here, and find what was read.
            let mut reading = table.reading.lock().await;
            let now = self.clock.instant();
            let is_due =
                reading.is_none_or(|last| now.saturating_duration_since(last) >= UNKNOWN_EVERY);
            if is_due {
                *reading = Some(now);
                if let Err(error) = table.read(&reading).await {
                    let reason = error_chain(&error);
                    tracing::warn!(reason, "cannot read signing keys");
                }
            }
        }
        self.find(kid)
    }

    /// The public keys whose tokens are valid, as a JWK set (RFC 7517, section 5).
    #[must_use]
    pub fn jwks(&self) -> Value {
        let now = self.clock.now();
        let entries = self.entries();
        let valid = entries.iter().filter(|entry| entry.times.is_valid(now));
        let keys: Vec<&Value> = valid.map(|entry| entry.key.jwk()).collect();
        json!({ "keys": keys })
    }

    /// All keys of the table, the newest last; also those that cannot be decrypted.
    ///
    /// # Errors
    /// When the store is unavailable, or reports an error.
    pub async fn list(&self) -> Result<Vec<Listed>, KeyringError> {
        let stored: Vec<(String, String, Times)> = match &self.source {
            Source::Table(table) => {
                let all = table.store.all().await?.into_iter();
                all.map(|key| (key.kid, key.alg, key.times)).collect()
            }
            Source::Fixed(Entry { key, times, .. }) => {
                let algorithm = key.algorithm().name().to_owned();
                vec![(key.kid().to_owned(), algorithm, *times)]
            }
        };
        let times: Vec<Times> = stored.iter().map(|(_, _, times)| *times).collect();
        let states = schedule::states(&times, self.clock.now());
        let listed = stored.into_iter().zip(states);
        Ok(listed
            .map(|((kid, algorithm, times), state)| Listed {
                kid,
                algorithm,
                times,
                state,
            })
            .collect())
    }

    /// Publishes a new key, which replaces the active one after [`schedule::PUBLISHED_FOR`].
    ///
    /// # Errors
    /// When the key is that of the settings, the last one does not sign yet, or the store fails.
    pub async fn rotate(&self) -> Result<(), KeyringError> {
        let now = self.clock.now();
        if self.rotate_if_active_since(now).await? {
            Ok(())
        } else {
            Err(KeyringError::Pending)
        }
    }

    /// Returns whether the head had been active since then, and so was replaced by this call.
    async fn rotate_if_active_since(
        &self,
        since: chrono::DateTime<chrono::Utc>,
    ) -> Result<bool, KeyringError> {
        let table = self.table()?;
        let key = table.new_key().await?;
        let kid = key.kid.clone();
        let rotated = table.store.rotate(key, since, self.clock.now()).await?;
        if rotated {
            tracing::info!(kid, "signing key published");
        }
        table.reload().await?;
        Ok(rotated)
    }

    /// Removes a key at once, because others may have it: its tokens are invalid here from now on, and at other
    /// instances and validators once they read the keys again. Sessions go on, as refresh tokens do not depend
    /// on it. If it was the active key, the next one signs at once, before every validator knows it.
    ///
    /// # Errors
    /// When there is no such key, or the store fails.
    pub async fn revoke(&self, kid: &str) -> Result<(), KeyringError> {
        let table = self.table()?;
        for _ in 0..MAX_TRIES {
            let replacement = table.new_key().await?;
            let now = self.clock.now();
            let outcome = table.store.revoke(kid.to_owned(), replacement, now).await?;
            match outcome {
                Revoked::Unknown => return Err(KeyringError::Unknown),
                Revoked::Raced => {}
                Revoked::Removed | Revoked::Replaced => {
                    tracing::warn!(kid, "signing key revoked");
                    table.reload().await?;
                    return Ok(());
                }
            }
        }
        Err(KeyringError::Contended)
    }

    /// Reads the table every [`RELOAD_EVERY`], and replaces keys that are old enough, until the shutdown.
    pub fn maintain_in_the_background(self: Arc<Self>, lifecycle: &Lifecycle) {
        if matches!(self.source, Source::Fixed(_)) {
            return;
        }
        let stopping = lifecycle.clone();
        lifecycle.spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(RELOAD_EVERY) => {}
                    () = stopping.stopping() => return,
                }
                if let Err(error) = self.maintain().await {
                    let reason = error_chain(&error);
                    tracing::warn!(reason, "cannot maintain signing keys");
                }
            }
        });
    }

    /// One round of [`Keyring::maintain_in_the_background`].
    ///
    /// # Errors
    /// When the store fails. The keys stay as they were.
    pub async fn maintain(&self) -> Result<(), KeyringError> {
        let Source::Table(table) = &self.source else {
            return Ok(());
        };
        table.reload().await?;
        let now = self.clock.now();
        if self.entries().iter().any(|entry| entry.times.is_due(now)) {
            self.rotate_if_active_since(now - ROTATE_AFTER).await?;
        }
        Ok(())
    }

    fn table(&self) -> Result<&Table, KeyringError> {
        match &self.source {
            Source::Table(table) => Ok(table),
            Source::Fixed(_) => Err(KeyringError::Fixed),
        }
    }

    fn entries(&self) -> Arc<[Entry]> {
        match &self.source {
            Source::Table(table) => table.entries(),
            Source::Fixed(entry) => Arc::new([entry.clone()]),
        }
    }
}

impl Table {
    fn entries(&self) -> Arc<[Entry]> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&loaded)
    }

    /// Reads the table. Returns the number of its rows.
    async fn reload(&self) -> Result<usize, StoreError> {
        let reading = self.reading.lock().await;
        self.read(&reading).await
    }

    async fn read(&self, _: &MutexGuard<'_, Option<Instant>>) -> Result<usize, StoreError> {
        let stored = self.store.all().await?;
        let rows = stored.len();
        let known = self.entries();
        let mut entries = Vec::with_capacity(rows);
        for stored in stored {
            let same = known.iter().find(|entry| {
                entry.key.kid() == stored.kid && entry.private_sealed == stored.private_sealed
            });
            let key = match same {
                Some(entry) => Arc::clone(&entry.key),
                None => match self.open_key(&stored).await {
                    Some(key) => Arc::new(key),
                    None => continue,
                },
            };
            entries.push(Entry {
                key,
                times: stored.times,
                private_sealed: stored.private_sealed,
            });
        }
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = entries.into();
        Ok(rows)
    }

    /// Decrypts a key of the table. `None`, with a warning, if it is not what an instance with one of the
    /// secrets wrote: a party that can write to the database must not be able to add a key.
    async fn open_key(&self, stored: &StoredKey) -> Option<SigningKey> {
        let kid = stored.kid.as_str();
        let opened = self.secrets.open(kid, &stored.private_sealed);
        let key = opened.as_ref().and_then(|opened| {
            let algorithm = TokenAlgorithm::from_name(&stored.alg)?;
            let key = SigningKey::from_pkcs8(algorithm, &opened.contents).ok()?;
            (key.kid() == kid).then_some(key)
        });
        if key.is_none() {
            tracing::warn!(kid, "signing key cannot be decrypted, ignoring it");
        }
        if opened.is_some_and(|opened| opened.is_outdated) {
            // Otherwise it would be lost with the previous secret.
            self.seal_again(stored, key.as_ref()?).await;
        }
        key
    }

    async fn seal_again(&self, stored: &StoredKey, key: &SigningKey) {
        let Some(sealed) = self.secrets.seal(key.kid(), key.pkcs8()) else {
            return;
        };
        let resealed = self
            .store
            .reseal(key.kid(), &stored.private_sealed, &sealed);
        match resealed.await {
            Ok(_) => tracing::info!(kid = key.kid(), "signing key encrypted under AUTH_SECRET"),
            Err(error) => {
                let reason = error_chain(&error);
                tracing::warn!(reason, "cannot encrypt signing key under AUTH_SECRET");
            }
        }
    }

    /// Makes a key, on a thread of its own: an RSA key takes long.
    async fn new_key(&self) -> Result<NewKey, KeyringError> {
        let algorithm = self.algorithm;
        let key = tokio::task::spawn_blocking(move || SigningKey::generate(algorithm))
            .await
            .map_err(|_| KeyringError::Generate(KeyError::Failed))?
            .map_err(KeyringError::Generate)?;
        let sealed = self.secrets.seal(key.kid(), key.pkcs8());
        Ok(NewKey {
            kid: key.kid().to_owned(),
            alg: key.algorithm().name(),
            public_jwk: key.jwk().clone(),
            private_sealed: sealed.ok_or(KeyringError::Generate(KeyError::Failed))?,
        })
    }
}
