//! `keys`: the keys that sign access tokens.

use std::sync::Arc;

use clap::Subcommand;
use serde_json::{Value, json};

use super::Failure;
use super::operator::{Operator, print, table};
use crate::access::auth_log::append_change;
use crate::access::change::Change;
use crate::config::Settings;
use crate::platform::clock::{SystemClock, timestamp};
use crate::platform::database::{End, Error, Transaction, UnitOfWork};
use crate::tokens::signing_keys::schedule::State;
use crate::tokens::signing_keys::{Keyring, KeyringError};

#[derive(Subcommand)]
pub enum Action {
    /// List the keys, with their states and times
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Publish a new key, which signs after ten minutes
    Rotate {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a key at once, because others may have it: its access tokens are invalid within 35 s
    Revoke {
        /// The id of the key
        // One in 64 begins with a hyphen.
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command. None of them needs a key that can be decrypted: a revocation is the way out of a
/// lost secret.
pub async fn run(settings: Settings, action: Action) -> Result<(), Failure> {
    let operator = Operator::open(settings).await?;
    let outcome = with(&operator, action).await;
    operator.close(outcome).await
}

async fn with(operator: &Operator, action: Action) -> Result<(), Failure> {
    let keyring = Keyring::unread(
        operator.database.clone(),
        operator.secrets()?,
        &operator.settings.auth,
        Arc::new(SystemClock),
    )?;
    let as_json = match action {
        Action::List { json } => json,
        Action::Rotate { json } => {
            if keyring.list().await?.is_empty() {
                return Err(Failure::new(
                    &"there is no key yet: the service makes the first one when it starts",
                ));
            }
            keyring.rotate().await?;
            let newest = keyring.list().await?.pop();
            let kid = newest.map(|key| key.kid).unwrap_or_default();
            record(operator, "signing_key.rotated", kid).await?;
            json
        }
        Action::Revoke { kid, json } => {
            if keyring.list().await?.iter().all(|key| key.kid != kid) {
                return Err(KeyringError::Unknown.into());
            }
            keyring.revoke(&kid).await?;
            record(operator, "signing_key.revoked", kid).await?;
            json
        }
    };
    list(&keyring, as_json).await
}

async fn record(operator: &Operator, action: &'static str, kid: String) -> Result<(), Failure> {
    let logged = Logged {
        change: Operator::change(),
        action,
        kid,
    };
    let written = operator.database.write(logged).await;
    written.map_err(|error| Failure::new(&format!("it was done, but not recorded: {error}")))
}

/// An entry of the log. It is of its own, as the keys are changed in transactions of theirs.
struct Logged {
    change: Change,
    action: &'static str,
    kid: String,
}

impl UnitOfWork for Logged {
    type Outcome = ();

    async fn run(&self, transaction: &mut Transaction) -> Result<End<()>, Error> {
        append_change(transaction, &self.change, self.action, &self.kid).await?;
        Ok(End::Commit(()))
    }
}

async fn list(keyring: &Keyring, as_json: bool) -> Result<(), Failure> {
    let state = |state| match state {
        State::Published => "published",
        State::Active => "active",
        State::Retired => "retired",
        State::Removed => "removed",
    };
    let keys = keyring.list().await?;
    let json: Vec<Value> = keys
        .iter()
        .map(|key| {
            json!({
                "kid": key.kid,
                "algorithm": key.algorithm,
                "state": state(key.state),
                "created_at": timestamp(key.times.created_at),
                "active_from": timestamp(key.times.active_from),
                "retired_at": key.times.retired_at.map(timestamp),
                "remove_at": key.times.remove_at.map(timestamp),
            })
        })
        .collect();
    let rows: Vec<Vec<String>> = keys
        .iter()
        .map(|key| {
            vec![
                key.kid.clone(),
                key.algorithm.clone(),
                state(key.state).to_owned(),
                timestamp(key.times.active_from),
                key.times.remove_at.map_or_else(String::new, timestamp),
            ]
        })
        .collect();
    let head = ["kid", "algorithm", "state", "active from", "removed at"];
    print(as_json, &json!({ "keys": json }), &table(&head, &rows))
}
