//! What the commands of operators share: the database, the circumstances of a change, their output.

use std::fmt::Write;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::{Failure, terminal};
use crate::access::change::{Actor, Change, ChangeError};
use crate::access::service_keys::ServiceKeys;
use crate::app;
use crate::config::Settings;
use crate::domain::{Permission, Permissions, StoreError};
use crate::lifecycle::Lifecycle;
use crate::platform::clock::{Clock, SystemClock, SystemRandomness, uuid_v7};
use crate::platform::database::Database;
use crate::platform::errors::error_chain;
use crate::platform::metrics::Metrics;
use crate::tokens::secrets::TokenSecrets;
use crate::tokens::signing_keys::KeyringError;

/// Connections of a command: it does one thing at a time.
const CONNECTIONS: u32 = 2;

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::new(&format!("the database failed: {}", error_chain(&error)))
    }
}

impl From<ChangeError> for Failure {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Store(error) => error.into(),
            revoked @ ChangeError::Revoked => Self::new(&revoked),
        }
    }
}

impl From<KeyringError> for Failure {
    fn from(error: KeyringError) -> Self {
        match error {
            KeyringError::Store(error) => error.into(),
            other => Self::new(&other),
        }
    }
}

/// The database, without a running service.
pub struct Operator {
    /// The settings.
    pub settings: Settings,
    /// The database.
    pub database: Database,
}

impl Operator {
    /// Opens the database of the settings.
    ///
    /// # Errors
    /// One line that says what to fix.
    pub async fn open(mut settings: Settings) -> Result<Self, Failure> {
        settings.database.max_connections = CONNECTIONS;
        // A replica may not have yet what a command just wrote.
        settings.database.read_url = None;
        let metrics = Metrics::new().map_err(|error| Failure::new(&error))?;
        let lifecycle = Lifecycle::new(tokio::runtime::Handle::current());
        let database = app::open_database(&settings, &[], &metrics, &lifecycle)
            .await
            .map_err(|error| Failure::new(&error))?;
        Ok(Self { settings, database })
    }

    /// The circumstances of a change that begins now.
    pub fn change() -> Change {
        let at = SystemClock.now();
        Change {
            actor: Actor::Cli,
            caller: None,
            at,
            correlation_id: uuid_v7(at, &SystemRandomness).to_string(),
            network: None,
            randomness: Arc::new(SystemRandomness),
        }
    }

    /// The secrets of tokens.
    ///
    /// # Errors
    /// One line that says what to set.
    pub fn secrets(&self) -> Result<Arc<TokenSecrets>, Failure> {
        let Settings { auth, database, .. } = &self.settings;
        TokenSecrets::open_or_create(auth, &database.url, &SystemRandomness)
            .map(Arc::new)
            .map_err(|error| Failure::new(&error))
    }

    /// The keys of machines.
    ///
    /// # Errors
    /// As [`Operator::secrets`].
    pub fn service_keys(&self) -> Result<ServiceKeys, Failure> {
        let secrets = self.secrets()?;
        let database = self.database.clone();
        Ok(ServiceKeys::new(
            database,
            secrets,
            Arc::new(SystemRandomness),
            None,
        ))
    }

    /// Closes the database after the work, whatever its outcome.
    pub async fn close<T>(self, outcome: Result<T, Failure>) -> Result<T, Failure> {
        self.database.close().await;
        outcome
    }
}

/// Prints a result: as JSON for scripts, or the text for people.
///
/// # Errors
/// When standard output cannot be written.
pub fn print(as_json: bool, json: &Value, text: &str) -> Result<(), Failure> {
    if as_json {
        terminal::result(&json.to_string())
    } else {
        terminal::result(text)
    }
}

/// Prints a secret, which is shown only once: alone on standard output, or as part of the JSON. The
/// hint for people goes to standard error.
///
/// # Errors
/// When standard output cannot be written.
pub fn print_secret(as_json: bool, json: &Value, secret: &str, hint: &str) -> Result<(), Failure> {
    print(as_json, json, secret)?;
    terminal::error(hint);
    Ok(())
}

/// A day for people.
pub fn day(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d").to_string()
}

/// The names of permissions.
pub fn names(permissions: Permissions) -> Vec<&'static str> {
    permissions.iter().map(Permission::as_str).collect()
}

/// A table for people: columns are as wide as their longest cell.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        let longest = cells.map(|cell| cell.chars().count()).max();
        let head = head.get(at).map_or(0, |cell| cell.len());
        longest.unwrap_or(0).max(head)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_of_a_table_are_aligned() {
        let rows = [
            vec!["a".to_owned(), "active".to_owned()],
            vec!["longer".to_owned(), String::new()],
        ];
        let expected = "id      state\na       active\nlonger\n";
        assert_eq!(table(&["id", "state"], &rows), expected);
    }
}
