//! `users erase`, `users tombstones` and `users export`: what data protection asks for.

use std::io::{IsTerminal, stdin};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use uuid::Uuid;

use super::operator::{Operator, print};
use super::users::{email, existing};
use super::{Failure, terminal};
use crate::access::erasure::{self, Eraser, ErasureOutcome};
use crate::config::{MailUrl, Settings};
use crate::domain::UserId;
use crate::mail;
use crate::platform::clock::timestamp;
use crate::slices::accounts::exported;

/// Tombstones that are read at once.
const PAGE: i32 = 1_000;

#[derive(Args)]
pub struct Erase {
    /// The address of the user
    #[arg(required_unless_present = "from_tombstones")]
    email: Option<String>,
    /// Do not ask whether it is meant
    #[arg(long)]
    yes: bool,
    /// Erase the users whose ids are in this file, a line each, as `users tombstones` prints them: those who
    /// were erased after the backup that was restored
    #[arg(long, value_name = "FILE", conflicts_with = "email")]
    from_tombstones: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct Export {
    /// The address of the user
    email: String,
}

/// Runs `users erase`.
pub async fn erase(settings: Settings, erase: Erase) -> Result<(), Failure> {
    let operator = Operator::open(settings).await?;
    let work = async {
        match (&erase.from_tombstones, &erase.email) {
            (Some(file), _) => replay(&operator, file, erase.json).await,
            (None, Some(address)) => erase_one(&operator, address, &erase).await,
            (None, None) => Err(Failure::usage(&"name a user, or a file with tombstones")),
        }
    };
    let outcome = work.await;
    operator.close(outcome).await
}

async fn erase_one(operator: &Operator, address: &str, erase: &Erase) -> Result<(), Failure> {
    let user = existing(operator, &email(address)?).await?;
    if !erase.yes {
        confirm(user)?;
    }
    let eraser = eraser(operator, true)?;
    match eraser.erase(user, Operator::change()).await? {
        ErasureOutcome::Erased(_) => {
            let json = json!({ "id": user, "erased": true });
            print(erase.json, &json, &format!("user {user} is erased"))
        }
        ErasureOutcome::NoSuchUser => Err(Failure::new(&"there is no user with this address")),
        ErasureOutcome::LastAdmin => Err(Failure::new(&super::users::last_admin())),
    }
}

fn confirm(user: UserId) -> Result<(), Failure> {
    if !stdin().is_terminal() {
        return Err(Failure::usage(&"add --yes: no terminal is here to ask"));
    }
    let question = format!("Erase user {user} for good? Enter yes: ");
    terminal::prompt(&question).map_err(|error| Failure::new(&error))?;
    let mut line = String::new();
    stdin()
        .read_line(&mut line)
        .map_err(|error| Failure::new(&error))?;
    if line.trim() == "yes" {
        Ok(())
    } else {
        Err(Failure::new(&"nothing was erased"))
    }
}

/// The mail that says so is not sent again after a restore.
fn eraser(operator: &Operator, with_mail: bool) -> Result<Eraser, Failure> {
    let sends = !matches!(mail::destination(&operator.settings), MailUrl::Off);
    Ok(Eraser {
        database: operator.database.clone(),
        feed: None,
        // Copies of outcomes in Redis expire within a minute.
        idempotency: None,
        secrets: if with_mail && sends {
            Some(operator.secrets()?)
        } else {
            None
        },
    })
}

async fn replay(operator: &Operator, file: &Path, as_json: bool) -> Result<(), Failure> {
    let name = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::new(&format!("{name} cannot be read: {error}")))?;
    let mut users = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let id = line.split_whitespace().next().unwrap_or_default();
        let id = id.parse::<UserId>();
        users.push(id.map_err(|_| Failure::new(&format!("{name}, line {number}: no id")))?);
    }
    let eraser = eraser(operator, false)?;
    let (mut done, mut absent) = (0_u64, 0_u64);
    let mut refused = Vec::new();
    for user in users {
        match eraser.erase(user, Operator::change()).await? {
            ErasureOutcome::Erased(_) => done += 1,
            ErasureOutcome::NoSuchUser => absent += 1,
            ErasureOutcome::LastAdmin => refused.push(user.to_string()),
        }
    }
    let json = json!({ "erased": done, "absent": absent });
    let text = format!("{done} users are erased; {absent} were not there");
    print(as_json, &json, &text)?;
    if refused.is_empty() {
        return Ok(());
    }
    let (users, reason) = (refused.join(", "), super::users::last_admin());
    Err(Failure::new(&format!("not erased: {users}: {reason}")))
}

/// Runs `users tombstones`.
pub async fn tombstones(settings: Settings) -> Result<(), Failure> {
    let operator = Operator::open(settings).await?;
    let work = async {
        let mut after = UserId::new(Uuid::nil());
        loop {
            let page = erasure::tombstones(&operator.database, after, PAGE).await?;
            for (user, at) in &page {
                terminal::result(&format!("{user} {}", timestamp(*at)))?;
            }
            match page.last() {
                Some((user, _)) => after = *user,
                None => return Ok(()),
            }
        }
    };
    let outcome = work.await;
    operator.close(outcome).await
}

/// Runs `users export`.
pub async fn export(settings: Settings, export: Export) -> Result<(), Failure> {
    let email = email(&export.email)?;
    let operator = Operator::open(settings).await?;
    let work = async {
        let user = existing(&operator, &email).await?;
        let data = exported(&operator.database, user).await?;
        let data = data.ok_or_else(|| Failure::new(&"there is no user with this address"))?;
        let text = serde_json::to_string_pretty(&data).map_err(|error| Failure::new(&error))?;
        terminal::result(&text)
    };
    let outcome = work.await;
    operator.close(outcome).await
}
